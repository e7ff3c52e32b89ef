package capture

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
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

// slot is a field's position in Fields.
type slot uint8

const (
	slotClickID slot = iota
	slotTxID
	slotPayout
	slotCurrency
	slotEvent
	slotStatus
	slotTime
	slotMessageID
	slotCount
)

// fieldParams are the parameters of each field, first choice first, by their
// numbers in a matcher.
type fieldParams [slotCount][]int

// collectForm reads a query or a form body. It never fails: see unescape.
func (f *found) collectForm(form string, from origin) {
	for form != "" {
		var pair string
		pair, form, _ = strings.Cut(form, "&")
		name, value, _ := strings.Cut(pair, "=")
		if value == "" {
			continue
		}
		name = unescape(name)
		if targets := f.targets(name); targets != nil {
			f.put(targets, name, unescapeValue(value), from)
		}
	}
}

// collectBody reads a body of any kind.
func (f *found) collectBody(contentType string, body []byte) error {
	switch kindOf(contentType, body) {
	case formBody:
		f.collectForm(string(body), fromBody)
	case jsonBody:
		return f.collectJSON(body)
	case multipartBody:
		return eachPart(contentType, body, func(name string, part io.Reader) error {
			targets := f.targets(name)
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

func (f *found) collectJSON(doc []byte) error {
	var odd string // the parameter that should have been a transaction ID
	w := jsonWalk{leaf: func(path, value []byte) {
		name := string(path)
		targets := f.targets(name)
		if value[0] == 't' || value[0] == 'f' {
			if slices.ContainsFunc(targets, f.isTxID) {
				odd = name
				targets = slices.DeleteFunc(slices.Clone(targets), f.isTxID)
			}
		}
		if len(targets) > 0 {
			f.put(targets, name, jsonText(value), fromBody)
		}
	}}
	if len(f.txids) > 0 {
		w.container = func(path []byte) {
			if slices.ContainsFunc(f.targets(string(path)), f.isTxID) {
				odd = string(path)
			}
		}
	}
	if f.paths != nil {
		w.track = newPathTracker(f)
	}
	if err := w.walk(doc); err != nil {
		return err
	}
	if odd != "" && f.first(f.txids) == "" {
		return fmt.Errorf("the transaction ID in %q is neither text nor a number: send one that is, "+
			"or name where it is, for example with fields { txid %s.id }", echo(odd), echo(odd))
	}
	return nil
}

// isTxID tells whether a target is for a transaction ID. One that is neither
// text nor a number is refused unless another one is there: without it, or with
// the word "true" in its place, sales would be taken for one another. Elsewhere
// objects are passed over, for what is inside them has names of its own, and
// words are words that the route can know.
func (m *matcher) isTxID(t target) bool { return slices.Contains(m.txids, t.param) }

// checkEncoding refuses what would have to be unpacked first.
func checkEncoding(header http.Header) error {
	for _, coding := range header.Values("Content-Encoding") {
		if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "identity") {
			return fmt.Errorf("it is compressed (Content-Encoding: %s): send it plain", echo(coding))
		}
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
