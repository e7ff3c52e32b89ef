package capture

import (
	"errors"
	"strings"
	"unicode"

	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

const (
	// maxDecorated bounds the values in which a click ID is looked for.
	maxDecorated = 512
	// maxGlued is the longest run of a click ID's characters in which one is
	// looked for: the ID and a few that a template glued to it.
	maxGlued = clickid.Length + 8
	// maxTries bounds how often one value is tried, and so how much the search
	// helps somebody who guesses IDs: by less than five bits of the codec's 36.
	maxTries = 24
	// maxClickValues bounds the values that are tried where a postback has
	// several for click_id. Who guesses IDs gains three bits more by it, and no
	// more than by sending as many postbacks.
	maxClickValues = 8
)

// clickValue returns what a postback has for its click ID: of several values
// the first that is a genuine one, since senders keep their own IDs and codes
// in the same places; if none is, the first.
func (rt *Route) clickValue(f *found, k *kind, codec *clickid.Codec) string {
	var values [maxClickValues]string
	n := 0
	f.each(k.fieldOf(rt, slotClickID), func(value string) bool {
		values[n] = rt.text(slotClickID, value)
		n++
		return n < maxClickValues
	})
	if n > 1 {
		for _, v := range values[:n] {
			if _, err := codec.Decode(v); err == nil {
				return v
			}
		}
	}
	return values[0]
}

// nameClick reads the click ID. It returns why there is none.
func (rt *Route) nameClick(p *Postback, value string, codec *clickid.Codec) (Reason, string) {
	p.ClickID = cutString(value, maxEcho)
	if value == "" {
		return MissingClickID, rt.missingDetail(p, codec)
	}
	ref, key, err := codec.DecodeTag(value)
	if err == nil {
		p.Ref, p.Key, p.HasRef = ref, key, true
		return "", ""
	}
	var s clickSearch
	if len(value) > clickid.Length && len(value) <= maxDecorated {
		s = clickSearch{codec: codec}
		s.search(value)
	}
	switch {
	case s.found == 1:
		p.Ref, p.Key, p.HasRef = s.ref, s.key, true
		p.ClickID = s.id
		p.remark("click_id arrived as %q and was read as %q, the one click ID in it: mend it in the postback URL at the sender",
			echoID(value), s.id)
		return "", ""
	case s.found > 1:
		return InvalidClickID, twoClicksDetail(s.id, s.other)
	case IsMacro(value):
		return UnresolvedMacro, macroDetail(FieldClickID, value) + rt.hint(p, codec)
	}
	return InvalidClickID, rt.clickIDDetail(value, errors.Is(err, clickid.ErrForged)) + rt.hint(p, codec)
}

// clickSearch looks for genuine click IDs within a value. No character is ever
// changed or left out between others that can be seen: what is found was minted
// here, as it stands.
type clickSearch struct {
	codec *clickid.Codec
	tries int

	found int // different clicks: 0, 1 or 2, which stands for more
	ref   clickid.Ref
	key   uint16
	id    string // the first found
	other string // the second
}

// search looks through a value as it is, then through what decoding makes of
// it, and without blanks in the ID only if nothing else is found.
func (s *clickSearch) search(value string) {
	decoded := value
	for {
		s.in(decoded)
		next := decodePercent(decoded)
		if next == decoded {
			break
		}
		decoded = next
	}
	if s.found > 0 {
		return
	}
	squeezed := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || invisible(r) {
			return -1
		}
		return r
	}, decoded)
	if squeezed != decoded {
		s.in(squeezed)
	}
}

// in tries every run of a click ID's characters in a text.
func (s *clickSearch) in(text string) {
	for from := 0; from < len(text); from++ {
		to := from
		for to < len(text) && clickIDByte(text[to]) {
			to++
		}
		if n := to - from; n >= clickid.Length && n <= maxGlued {
			for i := from; i+clickid.Length <= to; i++ {
				s.try(text[i : i+clickid.Length])
			}
		}
		from = to
	}
}

func (s *clickSearch) try(id string) {
	if s.tries == maxTries {
		return
	}
	s.tries++
	ref, key, err := s.codec.DecodeTag(id)
	switch {
	case err != nil:
	case s.found == 0:
		s.found, s.ref, s.key, s.id = 1, ref, key, strings.ToLower(id)
	case s.found == 1 && ref != s.ref:
		s.found, s.other = 2, strings.ToLower(id)
	}
}

// clickIDByte tells whether c occurs in click IDs.
func clickIDByte(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'v'
}
