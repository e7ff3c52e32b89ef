package clickid

import (
	"errors"
	"strconv"
	"unicode/utf8"
)

// What Decode refuses. ErrLength and ErrAlphabet say that a string does not
// have the form of a click ID, which is known without any key; ErrForged says
// that it has the form and was not minted under any of the keys.
var (
	ErrLength   = errors.New("wrong length for a click ID")
	ErrAlphabet = errors.New("wrong character in a click ID")
	ErrForged   = errors.New("click ID was not minted under any known key")
)

// lengthError is the number of bytes of a refused string. Its text is made
// only when asked for: refusing a flood of garbage has to stay cheap.
type lengthError int

func (e lengthError) Error() string {
	return ErrLength.Error() + ": has " + strconv.Itoa(int(e)) + " characters, a click ID has " + strconv.Itoa(Length)
}

func (lengthError) Unwrap() error { return ErrLength }

// alphabetError is the first character that is out of place.
type alphabetError struct {
	char  rune
	index int
}

func newAlphabetError(s string, index int) alphabetError {
	char, _ := utf8.DecodeRuneInString(s[index:])
	return alphabetError{char: char, index: index}
}

func (e alphabetError) Error() string {
	text := ErrAlphabet.Error() + ": " + strconv.QuoteRune(e.char) + " at position " + strconv.Itoa(e.index+1)
	if e.index == Length-1 && e.char < utf8.RuneSelf && values[byte(e.char)] != invalid {
		return text + " cannot be the last"
	}
	return text
}

func (alphabetError) Unwrap() error { return ErrAlphabet }
