package dashboard

import (
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// noConversion is the ID of none.
var noConversion attribution.ConversionID

// conversionID tells whether s is the ID of a conversion.
func conversionID(s string) bool {
	_, err := attribution.ParseConversionID(s)
	return err == nil
}

// showRaw lays a masked request out as it would have come over HTTP/1.1.
func showRaw(r capture.Raw) rawView {
	v := rawView{Line: visible(r.Method + " " + r.URI)}
	add := func(name, value string) {
		if value != "" {
			v.Headers = append(v.Headers, [2]string{name, visible(value)})
		}
	}
	add("Host", r.Host)
	add("Content-Type", r.ContentType)
	add("User-Agent", r.UserAgent)
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		add(visible(name), r.Headers[name])
	}
	body := r.Body
	if len(body) > maxShownBody {
		body, v.Cut = body[:maxShownBody], true
		for len(body) > 0 && !utf8.Valid(body[max(0, len(body)-utf8.UTFMax):]) && len(body) > maxShownBody-utf8.UTFMax {
			body = body[:len(body)-1] // not half a character
		}
	}
	if utf8.Valid(body) {
		v.Body = visible(string(body))
	} else {
		v.Body, v.Binary = hex.Dump(body[:min(len(body), maxShownBody/4)]), true
	}
	return v
}

// visible shows characters that would change how the text around them reads:
// controls, and those that turn the direction of writing.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return r
		case r == '\r':
			return -1
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return '\uFFFD'
		}
		return r
	}, s)
}
