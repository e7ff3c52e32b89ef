package e2e

import (
	"strings"
	"unicode/utf8"
)

// readQuery reads a query string the way a forgiving server does: what is not a valid escape
// stays as it is, what is not UTF-8 is replaced, and the first of equal names wins.
func readQuery(raw string) map[string]string {
	values := make(map[string]string)
	for pair := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if _, known := values[name]; !known {
			values[name] = readValue(value)
		}
	}
	return values
}

func readValue(raw string) string {
	var b []byte
	for i := 0; i < len(raw); i++ {
		switch {
		case raw[i] == '+':
			b = append(b, ' ')
		case raw[i] == '%' && i+2 < len(raw) && hexDigit(raw[i+1]) >= 0 && hexDigit(raw[i+2]) >= 0:
			b = append(b, byte(hexDigit(raw[i+1])<<4|hexDigit(raw[i+2])))
			i += 2
		default:
			b = append(b, raw[i])
		}
	}
	return cutValue(strings.ToValidUTF8(string(b), "\uFFFD"))
}

func hexDigit(c byte) int {
	i := strings.IndexByte("0123456789abcdefABCDEF", c)
	if i > 15 {
		i -= 6
	}
	return i
}

// cutValue keeps at most 2 KiB and no half character.
func cutValue(s string) string {
	const most = 2 << 10
	if len(s) <= most {
		return s
	}
	end := most
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}
