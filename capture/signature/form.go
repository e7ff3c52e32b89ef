package signature

import (
	"net/url"
	"slices"
	"strings"
)

// form reads a form body each of whose fields is there only once: of two,
// what is signed and what is booked could be different ones.
func form(m *Message) (map[string]string, error) {
	if media := mediaType(m.Request); media != "" && media != formType {
		return nil, bad("the body is %q, expected is a form (%s)", cut(media), formType)
	}
	fields := make(map[string]string)
	for raw := range strings.SplitSeq(string(m.Body), "&") {
		if raw == "" {
			continue
		}
		key, text, _ := strings.Cut(raw, "=")
		name, err := url.QueryUnescape(key)
		if err != nil {
			return nil, bad("the form has a field name with a broken percent-encoding: %q", cut(key))
		}
		value, err := url.QueryUnescape(text)
		if err != nil {
			return nil, bad("the form's field %q has a broken percent-encoding", cut(name))
		}
		if _, twice := fields[name]; twice {
			return nil, bad("the form's field %q is there twice: it may be there once", cut(name))
		}
		fields[name] = value
	}
	return fields, nil
}

// sortedNames returns the names of the fields in the order of their bytes,
// without some of them.
func sortedNames(fields map[string]string, without ...string) []string {
	names := make([]string, 0, len(fields))
	for name := range fields {
		if !slices.Contains(without, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
