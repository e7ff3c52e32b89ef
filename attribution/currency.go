package attribution

import (
	"errors"
	"fmt"
	"strings"
)

// Currency is an ISO 4217 code in upper case; "" means unknown.
type Currency string

// isoCodes lists the currencies of ISO 4217 that somebody can be paid in, by
// their minor units. Funds codes, metals, accounting units and test codes are
// not in it. CLDR, and with it golang.org/x/text/currency, is no substitute: it
// counts the decimals people use (none for IDR) where ISO counts those that
// exist, and its Go tables predate VES, SLE and ZWG.
var isoCodes = [...]string{
	0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
	2: "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY " +
		"COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF " +
		"IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR " +
		"MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG " +
		"SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES " +
		"WST XCD XCG YER ZAR ZMW ZWG " +
		// Withdrawn from 2023 on: refunds and imports still name them.
		"ANG BGN HRK SLL ZWL",
	3: "BHD IQD JOD KWD LYD OMR TND",
}

// minorUnits is isoCodes turned round for look-ups.
var minorUnits = func() map[Currency]int {
	m := make(map[Currency]int, 180)
	for n, codes := range isoCodes {
		for code := range strings.FieldsSeq(codes) {
			m[Currency(code)] = n
		}
	}
	return m
}()

// ParseCurrency reads an ISO 4217 code in any case, with blanks around it
// allowed. Codes that name no money (XXX, XTS, XAU, funds) are refused.
func ParseCurrency(s string) (Currency, error) {
	code := strings.TrimSpace(s)
	if code == "" {
		return "", errors.New("reading currency: it is empty: use an ISO 4217 code like USD")
	}
	if len(code) == 3 {
		c := Currency(strings.ToUpper(code))
		if _, ok := minorUnits[c]; ok {
			return c, nil
		}
	}
	return "", fmt.Errorf("unknown currency %q: use an ISO 4217 code like USD", clip(s))
}

// Digits returns the number of minor units: 2 for USD, 0 for JPY, and 2 for a
// currency that is unknown.
func (c Currency) Digits() int {
	if n, ok := minorUnits[c]; ok {
		return n
	}
	return 2
}
