package attribution

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// dollars are the currencies that are written with a bare $.
var dollars = codes("USD ARS AUD BBD BMD BND BRL BSD BZD CAD CLP COP CUP CVE DOP FJD GYD HKD JMD KYD LRD MOP MXN NAD NIO " +
	"NZD SBD SGD SRD SVC TOP TTD TWD UYU WST XCD ZWG ZWL")

// symbols lists which currencies a sign or word can mean, in lower case. One
// that can mean several names none, yet it contradicts a code it cannot mean.
var symbols = map[string][]Currency{
	"$": dollars, "a$": dollars, "c$": dollars, "s$": dollars,
	"us$": codes("USD"), "ca$": codes("CAD"), "au$": codes("AUD"), "nz$": codes("NZD"), "hk$": codes("HKD"),
	"nt$": codes("TWD"), "sg$": codes("SGD"), "mx$": codes("MXN"), "r$": codes("BRL"),
	"€": codes("EUR"), "£": codes("GBP"), "¥": codes("JPY CNY"), "￥": codes("JPY CNY"),
	"cn¥": codes("CNY"), "jp¥": codes("JPY"),
	"₹": codes("INR"), "₨": codes("INR PKR LKR NPR MUR SCR"), "rs": codes("INR PKR LKR NPR MUR SCR"),
	"kr": codes("SEK NOK DKK ISK"), "zł": codes("PLN"), "kč": codes("CZK"), "ft": codes("HUF"),
	"₩": codes("KRW"), "₽": codes("RUB"), "₺": codes("TRY"), "₴": codes("UAH"), "₫": codes("VND"),
	"₪": codes("ILS"), "₱": codes("PHP"), "฿": codes("THB"), "₦": codes("NGN"), "₸": codes("KZT"),
	"₾": codes("GEL"), "₼": codes("AZN"), "₲": codes("PYG"), "₡": codes("CRC"), "₵": codes("GHS"),
	"₮": codes("MNT"), "₭": codes("LAK"), "៛": codes("KHR"), "֏": codes("AMD"), "৳": codes("BDT"),
}

func codes(s string) []Currency {
	var list []Currency
	for code := range strings.FieldsSeq(s) {
		list = append(list, Currency(code))
	}
	return list
}

// namedCurrency returns the one currency that all words around a number can
// mean, "" if there are several or no words, and an error if they contradict
// each other or say something else.
func namedCurrency(words []string) (Currency, error) {
	if len(words) > 2 {
		return "", errors.New("there is more around the number than a currency: send the amount alone")
	}
	var could []Currency
	for i, w := range words {
		means, err := meanings(w)
		if err != nil {
			return "", err
		}
		if i > 0 {
			means = slices.DeleteFunc(slices.Clone(means), func(c Currency) bool { return !slices.Contains(could, c) })
			if len(means) == 0 {
				return "", fmt.Errorf("%q and %q are different currencies: send one of them", clip(words[0]), clip(w))
			}
		}
		could = means
	}
	if len(could) == 1 {
		return could[0], nil
	}
	return "", nil
}

// meanings returns the currencies a sign, word or ISO code can mean.
func meanings(word string) ([]Currency, error) {
	w := strings.ToLower(word)
	if dotless := strings.TrimSuffix(w, "."); dotless == "kr" || dotless == "rs" {
		w = dotless
	}
	if list, ok := symbols[w]; ok {
		return list, nil
	}
	if c, err := ParseCurrency(word); err == nil {
		return []Currency{c}, nil
	}
	return nil, fmt.Errorf("%q beside the number is no currency: send the amount alone, like 12.50", clip(word))
}
