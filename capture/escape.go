package capture

import "strings"

// unescape decodes a name or value of a query or form, to the byte. It never
// fails: what is not a percent-encoded byte stays as it is. Senders' templates
// hold all sorts of things, and a parser that refused one parameter would lose a
// conversion for another's sake.
func unescape(s string) string {
	if isPlain(s) {
		return s
	}
	if strings.IndexByte(s, '+') >= 0 {
		s = strings.ReplaceAll(s, "+", " ")
	}
	return decodePercent(s)
}

// isPlain tells whether s means itself, as nearly all names and values do.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c == '%' || c == '+' {
			return false
		}
	}
	return true
}

// decodePercent is unescape, but a plus sign stays one.
func decodePercent(s string) string {
	if strings.IndexByte(s, '%') >= 0 {
		b := make([]byte, 0, len(s))
		for i := 0; i < len(s); i++ {
			if isEscape(s[i:]) {
				b = append(b, byte(hexDigit(s[i+1])<<4|hexDigit(s[i+2])))
				i += 2
			} else {
				b = append(b, s[i])
			}
		}
		s = string(b)
	}
	return s
}

// isEscape tells whether s begins with a percent-encoded byte.
func isEscape(s string) bool {
	return len(s) > 2 && s[0] == '%' && hexDigit(s[1]) >= 0 && hexDigit(s[2]) >= 0
}

// unescapeValue is unescape, except that a macro between percent signs stays
// one: the "%ad" of %adid% is not a byte.
func unescapeValue(s string) string {
	if macro := strings.Trim(s, "+"); len(macro) > 2 && macro[0] == '%' && macro[len(macro)-1] == '%' &&
		isMacroName(strings.Trim(macro, "%")) {
		return macro
	}
	return unescape(s)
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
