package capture

import "strings"

// unescape decodes a name or value of a query or form, to the byte. It never
// fails: what is not a percent-encoded byte stays as it is. Senders' templates hold all sorts of things, and a parser that
// refused one parameter would lose a conversion for another's sake.
func unescape(s string) string {
	if strings.IndexByte(s, '%') >= 0 || strings.IndexByte(s, '+') >= 0 {
		b := make([]byte, 0, len(s))
		for i := 0; i < len(s); i++ {
			switch c := s[i]; {
			case c == '+':
				b = append(b, ' ')
			case c == '%' && i+2 < len(s) && hexDigit(s[i+1]) >= 0 && hexDigit(s[i+2]) >= 0:
				b = append(b, byte(hexDigit(s[i+1])<<4|hexDigit(s[i+2])))
				i += 2
			default:
				b = append(b, c)
			}
		}
		s = string(b)
	}
	return s
}

// unescapeValue is unescape, except that a macro between percent signs stays
// one: the "%ad" of %adid% is not a byte.
func unescapeValue(s string) string {
	if s[0] == '%' && s[len(s)-1] == '%' && isMacroName(strings.Trim(s, "%")) {
		return s
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
