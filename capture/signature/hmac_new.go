package signature

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
)

var hmacHashes = map[string]func() hash.Hash{"sha256": sha256.New, "sha512": sha512.New, "sha1": sha1.New}

// NewHMAC returns a verifier of HMAC signatures.
func NewHMAC(c HMACConfig) (Verifier, error) {
	v := &hmacVerifier{name: "hmac", hint: "does the sender sign what it sends?"}
	if c.Preset != "" {
		p, ok := hmacPresets[c.Preset]
		if !ok {
			return nil, fmt.Errorf("unknown preset %q; allowed are %s", c.Preset, strings.Join(HMACPresets(), ", "))
		}
		v.name, v.hint = "hmac "+c.Preset, p.hint
		if c.Header != "" && c.Parameter == "" && !strings.EqualFold(c.Header, p.Header) {
			v.hint = "does the sender sign what it sends?"
		}
		c = c.over(p.HMACConfig)
	}
	v.HMACConfig = c
	for _, step := range []func() error{v.setSecrets, v.setForm, v.setPlace, v.setPayload, v.setTime} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func (v *hmacVerifier) setSecrets() (err error) {
	if v.Secrets, err = ownSecrets(v.Secrets); err != nil {
		return err
	}
	var decode func(string) ([]byte, error)
	switch v.SecretEncoding {
	case "":
		return nil
	case "hex":
		decode = hex.DecodeString
	case "base64":
		decode = anyBase64
	default:
		return fmt.Errorf("secret encoding is %q; allowed are hex and base64", v.SecretEncoding)
	}
	for i, s := range v.Secrets {
		// The error of the decoder would show a piece of the secret.
		key, err := decode(string(s))
		if err != nil || len(key) == 0 {
			return fmt.Errorf("secret %d is not written in %s", i+1, v.SecretEncoding)
		}
		v.Secrets[i] = key
	}
	return nil
}

func (v *hmacVerifier) setForm() error {
	if v.Algorithm == "" {
		v.Algorithm = "sha256"
	}
	var ok bool
	if v.hash, ok = hmacHashes[v.Algorithm]; !ok {
		return fmt.Errorf("algorithm is %q; allowed are sha256, sha512 and sha1", v.Algorithm)
	}
	v.size = v.hash().Size()
	switch v.Encoding {
	case "":
		v.Encoding = "hex"
	case "hex", "base64":
	default:
		return fmt.Errorf("encoding is %q; allowed are hex and base64", v.Encoding)
	}
	return nil
}

func (v *hmacVerifier) setPlace() error {
	switch {
	case v.Header == "" && v.Parameter == "":
		return errors.New("neither a preset, a header nor a parameter says where the signature stands: name one")
	case v.Header != "" && v.Parameter != "":
		return fmt.Errorf("both the header %q and the parameter %q are named for the signature: name one", v.Header, v.Parameter)
	case v.Header != "" && !validHeader(v.Header):
		return fmt.Errorf("%q cannot be the name of a header", v.Header)
	case v.Prefix != "" && v.List != nil:
		return fmt.Errorf("the prefix %q and a list of key=value exclude one another", v.Prefix)
	}
	v.canonical = canonicalHeader(v.Header)
	if v.List == nil {
		return nil
	}
	list := *v.List
	if list.Separator == "" {
		list.Separator = ","
	}
	if len(list.Signatures) == 0 || slices.Contains(list.Signatures, "") {
		return errors.New("the list has no key for its signatures: name one, like v1")
	}
	if strings.Contains(list.Separator, "=") {
		return fmt.Errorf("the list's separator %q contains the = that stands between key and value", list.Separator)
	}
	if slices.Contains(list.Signatures, list.Timestamp) {
		return fmt.Errorf("the list's key %q is named both for a signature and for the timestamp", list.Timestamp)
	}
	v.List = &list
	return nil
}

func (v *hmacVerifier) setPayload() (err error) {
	if v.Payload == "" {
		v.Payload = "{body}"
		if v.Parameter != "" {
			v.Payload = "{query}"
		}
	}
	v.payload, err = parseTemplate(v.Payload, payloadPlaceholders, holeBody, holeTimestamp, holeID, holeMethod,
		holePath, holeQuery, holeQuerySorted, holeHeader, holeField)
	if err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	body, query := v.payload.has(holeBody), v.payload.has(holeQuery, holeQuerySorted)
	switch {
	case v.payload.has(holeField):
		// Those who sign single fields leave the others open on purpose.
	case !body && !query:
		return fmt.Errorf("the payload %q covers nothing of what is reported: "+
			"it needs one of {body} {query} {query_sorted} {field.<name>}", v.Payload)
	case !query:
		v.unsigned = PartQuery
	case !body:
		v.unsigned = PartBody
	}
	return nil
}

func (v *hmacVerifier) setTime() error {
	var sources []string
	if v.List != nil && v.List.Timestamp != "" {
		sources = append(sources, "the list's "+v.List.Timestamp)
	}
	if v.TimestampHeader != "" {
		sources = append(sources, "the header "+v.TimestampHeader)
	}
	if v.TimestampParameter != "" {
		sources = append(sources, "the parameter "+v.TimestampParameter)
	}
	v.timed = len(sources) > 0
	v.timeFrom = anyPart
	signed := v.payload.has(holeTimestamp)
	switch {
	case signed:
	case v.TimestampHeader != "":
		signed = v.payload.named(holeHeader, v.TimestampHeader)
	case v.TimestampParameter != "":
		signed = v.payload.named(holeField, v.TimestampParameter) || v.signedWithin()
	}
	switch {
	case len(sources) > 1:
		return fmt.Errorf("the timestamp stands in both %s: name one", strings.Join(sources, " and "))
	case v.Tolerance < 0:
		return fmt.Errorf("tolerance is %s: it cannot be negative", v.Tolerance)
	case !v.timed && v.Tolerance > 0:
		return fmt.Errorf("tolerance is %s, but nothing says where the timestamp stands", v.Tolerance)
	case !v.timed && v.payload.has(holeTimestamp):
		return fmt.Errorf("the payload %q has {timestamp}, but nothing says where the timestamp stands", v.Payload)
	case v.timed && !signed:
		return fmt.Errorf("the timestamp in %s is not signed, so anybody could write a fresh one: put {timestamp} into the payload, "+
			"which is %q", sources[0], v.Payload)
	}
	if v.timed && v.Tolerance == 0 {
		v.Tolerance = defaultTolerance
	}
	return v.setID()
}

// signedWithin reports whether the parameter with the timestamp is part of the
// query or body that is signed, and has it read from there only.
func (v *hmacVerifier) signedWithin() bool {
	if strings.Contains(v.TimestampParameter, "?") || strings.Contains(v.TimestampParameter, ":") {
		return false // these name a place within or beside the parameters
	}
	v.timeFrom = 0
	if v.payload.has(holeQuery, holeQuerySorted) {
		v.timeFrom |= PartQuery
	}
	if v.payload.has(holeBody) {
		v.timeFrom |= PartBody
	}
	return v.timeFrom != 0
}

func (v *hmacVerifier) setID() error {
	named := v.IDHeader != "" || v.IDParameter != ""
	switch {
	case v.IDHeader != "" && v.IDParameter != "":
		return fmt.Errorf("both the header %q and the parameter %q are named for the message's ID: name one", v.IDHeader, v.IDParameter)
	case !named && v.payload.has(holeID):
		return fmt.Errorf("the payload %q has {id}, but nothing says where the message's ID stands", v.Payload)
	case named && !v.payload.has(holeID):
		return fmt.Errorf("a message's ID is named, but the payload %q has no {id}: what is not signed proves nothing", v.Payload)
	}
	for _, name := range [...]string{v.IDHeader, v.TimestampHeader} {
		if name != "" && !validHeader(name) {
			return fmt.Errorf("%q cannot be the name of a header", name)
		}
	}
	return nil
}
