package signature

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"

	"github.com/dunglas/httpsfv"
)

// base is what was signed (RFC 9421, section 2.5): a line for each component,
// and one that lists them with the signature's parameters.
func (s *labelled) base(m *Message, scheme string) ([]byte, error) {
	if n := len(s.covered.Items); n > maxComponents {
		return nil, bad("the signature %q covers %d components, at most %d are looked at", s.label, n, maxComponents)
	}
	var b bytes.Buffer
	seen := make(map[string]bool)
	for _, item := range s.covered.Items {
		name, ok := item.Value.(string)
		id, err := httpsfv.Marshal(item)
		if !ok || err != nil {
			return nil, bad("the signature %q covers something that is not the name of a component", s.label)
		}
		if seen[id] {
			return nil, bad("the signature %q covers %s twice", s.label, cut(id))
		}
		seen[id] = true
		value, err := component(m, name, item.Params, scheme)
		if err != nil {
			return nil, err
		}
		b.WriteString(id + ": " + value + "\n")
	}
	params, err := httpsfv.Marshal(s.covered)
	if err != nil {
		return nil, bad("the parameters of the signature %q cannot be read", s.label)
	}
	b.WriteString(`"@signature-params": ` + params)
	return b.Bytes(), nil
}

// component returns the value of a component (RFC 9421, section 2).
func component(m *Message, name string, params *httpsfv.Params, scheme string) (string, error) {
	r := m.Request
	path, query, _ := target(r)
	names := params.Names()
	if name == "@query-param" && len(names) == 1 && names[0] == "name" {
		return queryParam(query, params)
	}
	if !strings.HasPrefix(name, "@") {
		return field(r, name, params)
	}
	if len(names) > 0 {
		return "", unsupported(name, names)
	}
	switch name {
	case "@method":
		return r.Method, nil
	case "@authority":
		return authority(r, scheme), nil
	case "@scheme":
		return scheme, nil
	case "@path":
		return path, nil
	case "@query":
		return "?" + query, nil
	case "@request-target":
		return requestURI(r), nil
	case "@target-uri":
		_, _, hasQuery := target(r)
		if hasQuery {
			path += "?" + query
		}
		return scheme + "://" + authority(r, scheme) + path, nil
	}
	return "", unsupported(name, nil)
}

func unsupported(name string, params []string) error {
	return bad("the signature covers %q, which cannot be checked here: let the sender leave it out", cut(strings.Join(append([]string{name}, params...), ";")))
}

// field returns a header (RFC 9421, section 2.1). The parameters sf and tr are
// not supported: the first needs the type of every header, the second is for
// trailers.
func field(r *http.Request, name string, params *httpsfv.Params) (string, error) {
	text, ok := fieldText(r, name)
	if !ok || name != strings.ToLower(name) {
		return "", bad("the signature covers the header %q, which is missing", cut(name))
	}
	names := params.Names()
	switch {
	case len(names) == 0:
		return text, nil
	case len(names) == 1 && names[0] == "bs":
		var lines []string
		for _, line := range r.Header.Values(name) {
			lines = append(lines, ":"+base64.StdEncoding.EncodeToString([]byte(strings.TrimSpace(line)))+":")
		}
		return strings.Join(lines, ", "), nil
	case len(names) == 1 && names[0] == "key":
		value, _ := params.Get("key")
		key, _ := value.(string)
		d, err := httpsfv.UnmarshalDictionary(r.Header.Values(name))
		if err != nil {
			return "", bad("the signature covers a key of the header %q, which is not a dictionary", cut(name))
		}
		member, ok := d.Get(key)
		if !ok {
			return "", bad("the signature covers the key %q of the header %q, which is missing", cut(key), cut(name))
		}
		text, err := httpsfv.Marshal(member.(httpsfv.StructuredFieldValue))
		if err != nil {
			return "", bad("the key %q of the header %q cannot be read", cut(key), cut(name))
		}
		return text, nil
	}
	return "", unsupported(name, names)
}

// queryParam returns a parameter of the query, encoded afresh (section 2.2.8).
func queryParam(query string, params *httpsfv.Params) (string, error) {
	value, _ := params.Get("name")
	name, _ := value.(string)
	count, found := 0, ""
	for _, p := range pairs(query) {
		if formEncode(p.name) == name {
			count, found = count+1, p.value
		}
	}
	if count != 1 {
		return "", bad("the signature covers the parameter %q, which is there %d times: it has to be there once", cut(name), count)
	}
	return formEncode(found), nil
}

// formEncode is the encoding of the WHATWG's URL standard for forms, with %20
// for a space.
func formEncode(s string) string {
	return strings.NewReplacer("+", "%20", "%2A", "*", "~", "%7E").Replace(url.QueryEscape(s))
}

// authority is the host in lower case, without the scheme's own port.
func authority(r *http.Request, scheme string) string {
	host := strings.ToLower(r.Host)
	if scheme == "https" {
		return strings.TrimSuffix(host, ":443")
	}
	return strings.TrimSuffix(host, ":80")
}

func requestURI(r *http.Request) string {
	if r.RequestURI != "" {
		return r.RequestURI
	}
	return r.URL.RequestURI()
}

// checkDigest compares the body with Content-Digest (RFC 9530): all the sums
// that we can make have to be right, and at least one has to be there.
func checkDigest(m *Message) error {
	d, err := dictionary(m.Request.Header, "Content-Digest")
	if err != nil {
		return err
	}
	checked := false
	for _, name := range d.Names() {
		var sum []byte
		switch name {
		case "sha-256":
			s := sha256.Sum256(m.Body)
			sum = s[:]
		case "sha-512":
			s := sha512.Sum512(m.Body)
			sum = s[:]
		default:
			continue
		}
		member, _ := d.Get(name)
		item, _ := member.(httpsfv.Item)
		sent, _ := item.Value.([]byte)
		if !hmac.Equal(sent, sum) {
			return bad("the header Content-Digest does not fit the body: something changed one of them on the way")
		}
		checked = true
	}
	if !checked {
		return bad("the header Content-Digest has neither sha-256 nor sha-512")
	}
	return nil
}
