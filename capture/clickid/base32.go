package clickid

// Length is the length of an encoded click ID.
const Length = 26

const (
	alphabet = "0123456789abcdefghijklmnopqrstuv"
	invalid  = 0xff
)

// values maps a character of either case to its five bits.
var values = func() (v [256]byte) {
	for i := range v {
		v[i] = invalid
	}
	for i := range len(alphabet) {
		c := alphabet[i]
		v[c] = byte(i)
		if c >= 'a' {
			v[c-'a'+'A'] = byte(i)
		}
	}
	return v
}()

// format writes 128 bits as 26 characters. The last one carries the lowest
// three bits and two spare zeros, as in RFC 4648.
func format(hi, lo uint64) (text [Length]byte) {
	for i := range 12 {
		text[i] = alphabet[hi>>(59-5*i)&31]
		text[13+i] = alphabet[lo>>(58-5*i)&31]
	}
	text[12] = alphabet[hi<<1&31|lo>>63]
	text[25] = alphabet[lo<<2&31]
	return text
}

// parse is the inverse of format. It accepts letters of either case and no
// second way to write the same bits: set spare bits are refused.
func parse(s string) (hi, lo uint64, err error) {
	if len(s) != Length {
		return 0, 0, lengthError(len(s))
	}
	var seen byte
	for i := range 12 {
		a, b := values[s[i]], values[s[13+i]]
		seen |= a | b
		hi, lo = hi<<5|uint64(a), lo<<5|uint64(b)
	}
	middle, last := values[s[12]], values[s[25]]
	seen |= middle | last
	if seen == invalid {
		return 0, 0, newAlphabetError(s, firstInvalid(s))
	}
	if last&3 != 0 {
		return 0, 0, newAlphabetError(s, Length-1)
	}
	hi = hi<<4 | uint64(middle>>1)
	lo = uint64(middle&1)<<63 | lo<<3 | uint64(last>>2)
	return hi, lo, nil
}

func firstInvalid(s string) int {
	for i := range len(s) {
		if values[s[i]] == invalid {
			return i
		}
	}
	return -1
}
