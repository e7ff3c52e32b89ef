package attribution

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxPayoutText bounds the text of a payout in bytes: 18 digits in groups,
// 9 decimals, a sign and a currency fit well.
const maxPayoutText = 96

// ParsePayout reads an amount as senders write it: "12.5", "12,50",
// "$1,234.56", "1.234,56 EUR", "USD 12.5", "-5.00", "1 234,56".
//
// The currency is what the text itself names without doubt: an ISO code or a
// sign like €. A sign that several currencies share ("$", "¥", "kr") names
// none, and "" is returned.
//
// A text with two readings is refused, never guessed: "1,234" may be more than
// a thousand or little more than one. So may "1.234 EUR" and "€1.234": a
// currency beside the number says that it was written for people, and half of
// the world writes thousands like that. "1.234" alone is a plain decimal number
// and is read as one: programs send payouts like 0.125 and 1.250 that way, with
// the currency in a parameter of its own. So is "1.234 KWD": a currency that
// has three decimals is written with all of them, so that a thousand of it
// would have a second mark. Where the point cannot group thousands ("0.125
// EUR", "1234.567 EUR", "1.2345 EUR"), there is but one reading.
//
// Exponents, other number systems, brackets for negative numbers, more than 18
// digits before or 9 after the decimal mark are refused.
func ParsePayout(s string) (Amount, Currency, error) {
	a, c, err := readPayout(s)
	if err != nil {
		return Amount{}, "", fmt.Errorf("reading payout %q: %w", clip(s), err)
	}
	return a, c, nil
}

func readPayout(s string) (Amount, Currency, error) {
	switch {
	case len(s) > maxPayoutText:
		return Amount{}, "", fmt.Errorf("it is longer than %d bytes, more than any amount", maxPayoutText)
	case !utf8.ValidString(s):
		return Amount{}, "", errors.New("it holds bytes that are no text (UTF-8)")
	}
	s = strings.TrimSpace(strings.Map(plainBlank, s))
	if s == "" {
		return Amount{}, "", errors.New("it is empty")
	}
	if s[0] == '(' {
		return Amount{}, "", errors.New("brackets are not read as a minus sign: write -5.00")
	}
	first, last := strings.IndexAny(s, "0123456789"), strings.LastIndexAny(s, "0123456789")
	if first < 0 {
		return Amount{}, "", errors.New("there is no number in it: send an amount like 12.50")
	}
	// A decimal mark may come first (".5"), but the one in "kr.500" is part of
	// the word.
	if first > 0 && (s[first-1] == '.' || s[first-1] == ',') {
		if r, _ := utf8.DecodeLastRuneInString(s[:first-1]); first == 1 || !unicode.IsLetter(r) {
			first--
		}
	}
	prefix, negative := cutSign(strings.TrimSpace(s[:first]))
	currency, err := namedCurrency(append(strings.Fields(prefix), strings.Fields(s[last+1:])...))
	if err != nil {
		return Amount{}, "", err
	}
	body := s[first : last+1]
	plain, err := readNumber(body)
	if err != nil {
		return Amount{}, "", err
	}
	worded := prefix != "" || last+1 < len(s)
	if groups := strings.Split(body, "."); worded && len(groups) == 2 && grouped(groups, false) && currency.Digits() != 3 {
		return Amount{}, "", fmt.Errorf("it can mean %s or %s: leave the currency out and send it beside the payout, "+
			"or write another number of decimals", strings.Join(groups, ""), plain)
	}
	a, err := ParseAmount(plain)
	if err != nil {
		return Amount{}, "", errors.Unwrap(err) // the text is quoted once
	}
	if negative {
		a = a.Neg()
	}
	return a, currency, nil
}

// plainBlank makes one blank of all that are used to group digits, one
// apostrophe of two and one minus of two. Other control characters and blanks
// stay and are refused later.
func plainBlank(r rune) rune {
	switch r {
	case '\u00a0', '\u2007', '\u2009', '\u202f':
		return ' '
	case '\u2019':
		return '\''
	case '\u2212':
		return '-'
	}
	return r
}

// cutSign takes one sign off the front or the end of what precedes the digits,
// so that "-$5" and "$-5" are the same.
func cutSign(prefix string) (rest string, negative bool) {
	if n := len(prefix); n > 0 {
		if c := prefix[0]; c == '-' || c == '+' {
			return strings.TrimSpace(prefix[1:]), c == '-'
		}
		if c := prefix[n-1]; c == '-' || c == '+' {
			return strings.TrimSpace(prefix[:n-1]), c == '-'
		}
	}
	return prefix, false
}

// readNumber turns digits with separators into a plain decimal number if there
// is exactly one way to read them.
func readNumber(body string) (string, error) {
	for _, r := range body {
		if !strings.ContainsRune("0123456789., '", r) {
			return "", fmt.Errorf("%q is not understood in a number: write it like 1234.50", string(r))
		}
	}
	if strings.Trim(body, "0123456789") == "" || strings.Count(body, ".") == 1 && !strings.ContainsAny(body, ", '") {
		return leadingZero(body), nil
	}
	var readings []string
	for _, mark := range []byte{0, '.', ','} {
		if r, ok := readAs(body, mark); ok {
			readings = append(readings, leadingZero(r))
		}
	}
	switch len(readings) {
	case 0:
		return "", errors.New("its commas, points or blanks do not group the digits as people do: write it like 1234.50")
	case 1:
		return readings[0], nil
	}
	return "", fmt.Errorf("it can mean %s, and is not guessed: write a point before the decimals and nothing between the thousands",
		strings.Join(readings, " or "))
}

// readAs reads body with mark as the decimal mark, 0 meaning that there is
// none, and the one other separator in it as a group separator.
func readAs(body string, mark byte) (string, bool) {
	whole, frac := body, ""
	if mark != 0 {
		i := strings.IndexByte(body, mark)
		if i < 0 || !digits(body[i+1:]) {
			return "", false
		}
		whole, frac = body[:i], body[i:]
		if whole == "" {
			return "." + frac[1:], true
		}
	}
	i := strings.IndexAny(whole, "., '")
	if i < 0 {
		return whole + "." + strings.TrimLeft(frac, ".,"), mark != 0
	}
	groups := strings.Split(whole, whole[i:i+1])
	if !grouped(groups, whole[i] == ',') {
		return "", false
	}
	whole = strings.Join(groups, "")
	if frac != "" {
		return whole + "." + frac[1:], true
	}
	return whole, true
}

// grouped reports whether the groups are those of thousands, or, if allowed,
// the Indian ones (12,34,567).
func grouped(groups []string, indian bool) bool {
	n := len(groups)
	three, two := len(groups[0]) <= 3, indian && len(groups[0]) <= 2
	for i, g := range groups {
		if !digits(g) || i == 0 && g == "0" {
			return false
		}
		if i > 0 {
			three = three && len(g) == 3
			two = two && (i == n-1 && len(g) == 3 || i < n-1 && len(g) == 2)
		}
	}
	return three || two
}

// leadingZero makes "0.5" of ".5".
func leadingZero(s string) string {
	if s[0] == '.' {
		return "0" + s
	}
	return s
}
