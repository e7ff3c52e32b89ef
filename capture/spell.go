package capture

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// spell writes any bytes as valid UTF-8, so that no two of them become one
// text: what names a sale must not become the name of another. Bytes that are
// no text are written like \xE9, and so that nothing else looks like that, the
// backslash of what does is written as \x5C. All other text stays as it is.
func spell(s string) string {
	if utf8.ValidString(s) && !strings.Contains(s, `\x`) {
		return s
	}
	return escapeBytes(s, func(rest string) bool { return rest[0] == '\\' && spelled(rest[1:]) })
}

// respell is spell for a text whose author knows names as spell writes them: a
// name that was read in the journal stays the same name.
func respell(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return escapeBytes(s, func(string) bool { return false })
}

// escapeBytes writes the bytes that are no text, and the first of what too
// takes, in hexadecimal.
func escapeBytes(s string, too func(rest string) bool) string {
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && size == 1 || too(s) {
			fmt.Fprintf(&b, `\x%02X`, s[0])
		} else {
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	return b.String()
}

// spelled tells whether what follows a backslash makes it look like the work of
// spell.
func spelled(rest string) bool {
	if len(rest) < 3 || rest[0] != 'x' || rest[1] >= 'a' || rest[2] >= 'a' {
		return false
	}
	high, low := hexDigit(rest[1]), hexDigit(rest[2])
	return high >= 8 && low >= 0 || high == '\\'>>4 && low == '\\'&15
}
