package capture

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/caddy-capture/caddy-capture/attribution"
)

// What templates do to a value or a query is put right where only one reading
// is possible, and the postback notes it. Everything else is named precisely
// and left to people.

// remark notes what was repaired or assumed.
func (p *Postback) remark(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

// mended reads again a value that read refused with err: without what a
// template left around it, and without one percent-encoding too many. What
// read then takes had no other meaning.
func mended[T any](p *Postback, f Field, value string, read func(string) (T, error), err error) (T, error) {
	for _, plain := range plainer(f, value) {
		if v, again := read(plain); again == nil {
			p.remark("%s arrived as %q and was read as %q: mend it in the postback URL at the sender", f, echo(value), echo(plain))
			return v, nil
		}
	}
	var none T
	return none, err
}

// because says why a field's value was refused.
func because(f Field, value string, err error) string {
	if why := errors.Unwrap(err); why != nil {
		err = why // without the value, which is quoted here
	}
	return fmt.Sprintf("%s is %q: %v", f, echo(value), err)
}

// maxMended bounds the values that are read again; none that can be read is
// as long.
const maxMended = 256

// plainer returns what a value may be meant to be, least changed first.
func plainer(f Field, value string) []string {
	if len(value) > maxMended {
		return nil
	}
	var all []string
	for range 3 {
		bare := strings.TrimFunc(value, decorates)
		if bare == "" {
			return all
		}
		all = append(all, bare)
		if f == FieldTime {
			if s, ok := restorePlus(bare); ok {
				all = append(all, s)
			}
		}
		// Encoded once too often, a blank is still a plus sign.
		if strings.IndexByte(bare, '+') >= 0 {
			if spaced := strings.TrimSpace(strings.ReplaceAll(bare, "+", " ")); spaced != "" {
				all = append(all, spaced)
			}
		}
		if strings.IndexByte(value, '%') < 0 {
			return all
		}
		value = decodePercent(value)
	}
	return all
}

// restorePlus mends a time like 2026-03-01T12:00:00 01:00: a plus sign in a
// query means a blank, and nothing else stands before a zone.
func restorePlus(v string) (string, bool) {
	i := strings.LastIndexByte(v, ' ')
	if i < 0 {
		return "", false
	}
	s := v[:i] + "+" + v[i+1:]
	if _, err := time.Parse(time.RFC3339, s); err != nil {
		return "", false
	}
	return s, true
}

// readStatusWord and readMoneyText make one result of what they read, for mended.
func readStatusWord(words map[string]attribution.Status, word string) (attribution.Status, error) {
	if len(word) <= maxStatusWord {
		if st, ok := words[strings.ToLower(word)]; ok {
			return st, nil
		}
	}
	return attribution.ParseStatus(word)
}

func readMoneyText(text string) (attribution.Money, error) {
	a, c, err := attribution.ParsePayout(text)
	return attribution.Money{Amount: a, Currency: c}, err
}

// plainEvent returns an event without one percent-encoding too many and
// without quotation marks around it. Events are free words, so nothing else
// is taken off.
func plainEvent(p *Postback, value string) string {
	plain := strings.TrimFunc(value, func(r rune) bool { return unicode.IsSpace(r) || invisible(r) || quotation(r) })
	if len(plain) <= maxMended {
		plain = strings.TrimSpace(decodePercent(plain))
	}
	if plain == value || plain == "" || strings.ContainsFunc(plain, unicode.IsControl) || IsMacro(plain) {
		return value
	}
	p.remark("%s arrived as %q and was read as %q: mend it in the postback URL at the sender",
		FieldEvent, echo(value), echo(plain))
	return plain
}

// decorates tells whether a character means nothing at either end of an
// amount, a currency, a status, a time or a click ID.
func decorates(r rune) bool {
	return strings.ContainsRune("{}[]<>,;&=|\\", r) || unicode.IsSpace(r) || unicode.IsControl(r) || invisible(r) || quotation(r)
}

// quotation tells whether r is a quotation mark, plain or of some language.
func quotation(r rune) bool {
	return strings.ContainsRune("\"'`´«»‹›‘’‚‛“”„‟′″＂＇", r)
}

// invisible tells whether r cannot be seen: word processors and chats leave
// such characters in what is copied from them.
func invisible(r rune) bool {
	switch {
	case r >= '\u200b' && r <= '\u200f', r >= '\u202a' && r <= '\u202e', r >= '\u2060' && r <= '\u2064':
		return true
	}
	return r == '\ufeff' || r == '\u00ad' || r == '\u061c' || r == '\u180e'
}
