package signature

import (
	"net/http"

	"github.com/dunglas/httpsfv"
)

// labelled is one signature of a message.
type labelled struct {
	label     string
	covered   httpsfv.InnerList
	signature []byte
	broken    error // why it cannot be checked; another one may be good

	keyID, algorithm, nonce string
	created, expires        int64
	hasExpires              bool
}

// parse takes Signature-Input and Signature apart.
func (v *httpSignature) parse(h http.Header) ([]labelled, error) {
	total := 0
	for _, name := range [...]string{"Signature-Input", "Signature", "Content-Digest"} {
		for _, line := range h.Values(name) {
			total += len(line)
		}
	}
	if total > maxFieldBytes {
		return nil, bad("the headers of the signature have %d bytes, at most %d are read", total, maxFieldBytes)
	}
	inputs, err := dictionary(h, "Signature-Input")
	if err != nil {
		return nil, err
	}
	values, err := dictionary(h, "Signature")
	if err != nil {
		return nil, err
	}
	if n := len(inputs.Names()); n > maxLabels {
		return nil, bad("the header Signature-Input describes %d signatures, at most %d are checked", n, maxLabels)
	}
	var list []labelled
	for _, label := range inputs.Names() {
		member, _ := inputs.Get(label)
		value, _ := values.Get(label)
		s := labelled{label: cut(label)}
		s.broken = s.read(member, value)
		list = append(list, s)
	}
	return list, nil
}

// dictionary reads a header as RFC 8941 has it, and refuses what it would
// overwrite: the same key on two lines.
func dictionary(h http.Header, name string) (*httpsfv.Dictionary, error) {
	all := httpsfv.NewDictionary()
	for _, line := range h.Values(name) {
		d, err := httpsfv.UnmarshalDictionary([]string{line})
		if err != nil {
			return nil, bad("the header %s cannot be read: it has to be a dictionary as in RFC 8941", name)
		}
		for _, key := range d.Names() {
			if _, twice := all.Get(key); twice {
				return nil, bad("the header %s has %q twice: it may be there once", name, cut(key))
			}
			member, _ := d.Get(key)
			all.Add(key, member)
		}
	}
	if len(all.Names()) == 0 {
		return nil, bad("the header %s is missing or empty: does the sender sign as in RFC 9421?", name)
	}
	return all, nil
}

// read takes one signature apart: what it covers, and its value.
func (s *labelled) read(input, value httpsfv.Member) error {
	var ok bool
	if s.covered, ok = input.(httpsfv.InnerList); !ok {
		return bad("the signature %q of the header Signature-Input is not a list of what it covers", s.label)
	}
	item, _ := value.(httpsfv.Item)
	if s.signature, ok = item.Value.([]byte); !ok {
		return bad("the header Signature has no signature %q between colons, which Signature-Input describes", s.label)
	}
	return s.readParams()
}

func (s *labelled) readParams() error {
	for _, name := range s.covered.Params.Names() {
		value, _ := s.covered.Params.Get(name)
		ok := true
		switch name {
		case "keyid":
			s.keyID, ok = value.(string)
		case "alg":
			s.algorithm, ok = value.(string)
		case "nonce":
			s.nonce, ok = value.(string)
		case "created":
			s.created, ok = value.(int64)
		case "expires":
			s.expires, ok = value.(int64)
			s.hasExpires = true
		}
		if !ok {
			return bad("the parameter %s of the signature %q has the wrong type", name, s.label)
		}
	}
	if _, ok := s.covered.Params.Get("created"); !ok {
		return bad("the signature %q has no parameter created: the sender has to say when it signed", s.label)
	}
	return nil
}
