package caddymodule

// encoding is how a value is written into a URL.
type encoding uint8

const (
	asIs encoding = iota
	// asValue keeps the unreserved characters of RFC 3986 alone, so the value
	// means nothing but itself in a path, a query or a fragment.
	asValue
	// asPath keeps what a path is made of, slashes included.
	asPath
	// asQuery takes a whole query over in its own encoding.
	asQuery
)

// What a byte is kept in, by encoding.
const (
	keepValue   = 1 << asValue
	keepPath    = 1 << asPath
	keepQuery   = 1 << asQuery
	keepLiteral = 1 << (asQuery + 1)
)

var keepBytes = func() (t [256]uint8) {
	set := func(chars string, bits uint8) {
		for i := range len(chars) {
			t[chars[i]] |= bits
		}
	}
	set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~",
		keepValue|keepPath|keepQuery|keepLiteral)
	set("!$&'()*+,;=:@/", keepPath|keepQuery|keepLiteral)
	set("?", keepQuery|keepLiteral)
	// Not legal in a URL and yet understood everywhere: offer links are full
	// of them, and some trackers know them in no other form.
	set("[]|", keepLiteral)
	return t
}()

// appendEncoded appends s as enc wants it. All but literal text of the
// configuration goes through it, so no control character, quote, brace or
// backslash of a visitor ever gets into a URL.
func appendEncoded(dst []byte, s string, enc encoding) []byte {
	if enc == asIs {
		return append(dst, s...)
	}
	start := 0
	for i := range len(s) {
		c := s[i]
		if keepBytes[c]&(1<<enc) != 0 || c == '%' && enc == asQuery && isEscape(s[i:]) {
			continue
		}
		dst = append(dst, s[start:i]...)
		dst = appendEscape(dst, c)
		start = i + 1
	}
	return append(dst, s[start:]...)
}

func appendEscape(dst []byte, c byte) []byte {
	const digits = "0123456789ABCDEF"
	return append(dst, '%', digits[c>>4], digits[c&15])
}

// isEscape tells whether s begins with a percent-encoded byte.
func isEscape(s string) bool {
	return len(s) > 2 && unhex(s[1]) < 16 && unhex(s[2]) < 16
}

// unhex returns the value of a hexadecimal digit, or 16.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// isScheme tells whether s can be the scheme of a URL. One with a dot would be
// legal, but is a host whose scheme was forgotten.
func isScheme(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && (i == 0 || c != '+' && c != '-') {
			return false
		}
	}
	return s != "" && (s[0] < '0' || s[0] > '9')
}
