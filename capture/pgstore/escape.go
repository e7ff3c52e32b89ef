package pgstore

import (
	"strings"
	"unicode/utf8"
)

// Text in PostgreSQL is UTF-8 without zero bytes; ours is any bytes, as senders
// and visitors write it. What does not fit is written with the control character
// SUB in front: "0" for a zero byte, "x" and two hex digits for a byte that is no
// UTF-8, SUB for itself. So no two texts become one, and all that people ever
// see stays as it is.
const sub = '\x1a'

func escape(s string) string {
	if utf8.ValidString(s) && !strings.ContainsAny(s, "\x00\x1a") {
		return s
	}
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == 0:
			b.WriteString("\x1a0")
		case r == sub:
			b.WriteString("\x1a\x1a")
		case r == utf8.RuneError && n == 1:
			b.Write([]byte{sub, 'x', hex[s[i]>>4], hex[s[i]&15]})
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

func unescape(s string) string {
	if strings.IndexByte(s, sub) < 0 {
		return s
	}
	digit := func(c byte) byte {
		if c >= 'a' {
			return c - 'a' + 10
		}
		return c - '0'
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != sub || i+1 == len(s):
			b.WriteByte(s[i])
		case s[i+1] == '0':
			b.WriteByte(0)
			i++
		case s[i+1] == 'x' && i+3 < len(s):
			b.WriteByte(digit(s[i+2])<<4 | digit(s[i+3]))
			i += 3
		default:
			b.WriteByte(s[i+1])
			i++
		}
	}
	return b.String()
}

// arrayLiteral writes a text array as PostgreSQL reads it.
func arrayLiteral(list []string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, s := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		for j := range len(s) {
			if s[j] == '"' || s[j] == '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(s[j])
		}
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}
