package capture

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"slices"
	"strings"
)

const (
	// maxParamName bounds names, so that a JSON path that grows with its
	// nesting is not looked up again and again.
	maxParamName = 256
	// maxParts bounds a multipart body, whose parts are costly to set up.
	maxParts = 256
)

// slot is a place in found: a field's position in Fields, or the token's.
type slot uint8

const (
	slotClickID slot = iota
	slotTxID
	slotPayout
	slotCurrency
	slotEvent
	slotStatus
	slotTime
	slotToken
	slotCount
)

// target is one use of a parameter name: the index-th choice for a slot.
type target struct {
	slot  slot
	index int
	name  string // as configured; exact matches go first
}

// origin says where a parameter came from; the lower goes first.
type origin int

const (
	fromQuery origin = 0
	fromBody  origin = 2
	origins   origin = 4 // each of the two matched exactly, then by case folding
)

// found is the best value so far for each slot. Parameters are matched as they
// are read, in one pass, so that a request with many of them costs no more
// than its length.
type found [slotCount]struct {
	rank  int // 0: nothing found; else lower is better
	value string
	macro bool // the value was a macro and has been noted as the problem
}

// put offers a parameter. Of equally good ones the first non-empty wins. It is
// made text, except where it is part of a conversion's name: see spell.
func (f *found) put(targets []target, name, value string, from origin) {
	if value = strings.TrimSpace(value); value == "" {
		return
	}
	for i := range targets {
		t := &targets[i]
		rank := t.index*int(origins) + int(from) + 1
		if t.name != name {
			rank++
		}
		if s := &f[t.slot]; s.rank == 0 || rank < s.rank {
			s.rank, s.value = rank, value
			if t.slot != slotTxID && t.slot != slotEvent {
				s.value = strings.ToValidUTF8(value, "\uFFFD")
			}
		}
	}
}

// targets returns what a parameter's name is wanted for.
func (rt *Route) targets(name string) []target {
	if len(name) > maxParamName {
		return nil
	}
	return rt.wanted[strings.ToLower(name)]
}

// collectForm reads a query or a form body. It never fails: see unescape.
func (rt *Route) collectForm(f *found, form string, from origin) {
	for form != "" {
		var pair string
		pair, form, _ = strings.Cut(form, "&")
		name, value, _ := strings.Cut(pair, "=")
		if value == "" {
			continue
		}
		name = unescape(name)
		if targets := rt.targets(name); targets != nil {
			f.put(targets, name, unescapeValue(value), from)
		}
	}
}

func (rt *Route) collectBody(f *found, contentType string, codings []string, body []byte) error {
	if len(body) == 0 {
		return nil
	}
	for _, coding := range codings {
		if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "identity") {
			return fmt.Errorf("it is compressed (Content-Encoding: %s): send it plain", echo(strings.ToValidUTF8(coding, "\uFFFD")))
		}
	}
	switch kindOf(contentType, body) {
	case formBody:
		rt.collectForm(f, string(body), fromBody)
	case jsonBody:
		return rt.collectJSON(f, body)
	case multipartBody:
		return eachPart(contentType, body, func(name string, part io.Reader) error {
			targets := rt.targets(name)
			if targets == nil {
				return nil
			}
			value, err := io.ReadAll(part)
			if err != nil {
				return err
			}
			f.put(targets, name, string(value), fromBody)
			return nil
		})
	}
	return nil
}

// collectJSON reads a JSON body. A transaction ID that is neither text nor a
// number is refused unless another one is there: without it, or with the word
// "true" in its place, sales would be taken for one another. Elsewhere objects
// are passed over, for what is inside them has names of its own, and words are
// words that the route can know.
func (rt *Route) collectJSON(f *found, body []byte) error {
	var odd string // the parameter that should have been a transaction ID
	isTxID := func(t target) bool { return t.slot == slotTxID }
	w := jsonWalk{
		leaf: func(path, value []byte) {
			name := string(path)
			targets := rt.targets(name)
			if value[0] == 't' || value[0] == 'f' {
				if slices.ContainsFunc(targets, isTxID) {
					odd = name
					targets = slices.DeleteFunc(slices.Clone(targets), isTxID)
				}
			}
			if len(targets) > 0 {
				f.put(targets, name, jsonText(value), fromBody)
			}
		},
		container: func(path []byte) {
			if slices.ContainsFunc(rt.targets(string(path)), isTxID) {
				odd = string(path)
			}
		},
	}
	if err := w.walk(body); err != nil {
		return err
	}
	if odd != "" && f[slotTxID].value == "" {
		return fmt.Errorf("the transaction ID in %q is neither text nor a number: send one that is, "+
			"or name where it is, for example with fields { txid %s.id }", echo(odd), echo(odd))
	}
	return nil
}

// formType is the media type of HTML forms.
const formType = "application/x-www-form-urlencoded"

// mediaTypeOf returns a Content-Type without its parameters.
func mediaTypeOf(contentType string) string {
	t, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(t))
}

// bodyKind is how a body is read.
type bodyKind uint8

const (
	noBody bodyKind = iota
	formBody
	jsonBody
	multipartBody
)

// kindOf goes by what the body looks like rather than by what it is said to
// be: senders' templates are often sent under a wrong type or under none.
func kindOf(contentType string, body []byte) bodyKind {
	mediaType := mediaTypeOf(contentType)
	start := bytes.TrimLeft(bytes.TrimPrefix(body, byteOrderMark), " \t\r\n")
	switch {
	case len(start) == 0:
		return noBody
	case mediaType == "multipart/form-data": // other kinds of multipart are not for forms
		return multipartBody
	case start[0] == '{' || start[0] == '[':
		// A form can begin like this too, though hardly any does.
		if mediaType == formType && !json.Valid(start) {
			return formBody
		}
		return jsonBody
	case mediaType == "application/json" || mediaType == "text/json" || strings.HasSuffix(mediaType, "+json"):
		return jsonBody
	}
	return formBody
}

// eachPart calls visit for each field of a multipart form; files are passed
// over.
func eachPart(contentType string, body []byte, visit func(name string, part io.Reader) error) error {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil || params["boundary"] == "" {
		return errors.New("its Content-Type names no boundary for the parts of the form")
	}
	r := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for n := 0; ; n++ {
		part, err := r.NextPart()
		if err == io.EOF {
			return nil
		}
		if err == nil && n == maxParts {
			return fmt.Errorf("the form has more than %d parts", maxParts)
		}
		if err == nil && part.FileName() == "" {
			err = visit(strings.ToValidUTF8(part.FormName(), "\uFFFD"), part)
		}
		if err != nil {
			return errors.New("the multipart form is damaged or cut off")
		}
	}
}
