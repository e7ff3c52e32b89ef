package signature

import (
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// pair is a parameter of a query or a form.
type pair struct {
	name, value string
	raw         string // both as they were sent
}

// pairs takes a query or a form apart. What cannot be decoded stays as it is.
func pairs(query string) []pair {
	var list []pair
	for raw := range strings.SplitSeq(query, "&") {
		if raw == "" {
			continue
		}
		name, value, _ := strings.Cut(raw, "=")
		list = append(list, pair{name: unescape(name), value: unescape(value), raw: raw})
	}
	return list
}

func unescape(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}

// target splits what the request line asked for, just as it was sent.
func target(r *http.Request) (path, query string, hasQuery bool) {
	uri := r.RequestURI
	if uri == "" {
		uri = r.URL.RequestURI()
	}
	if !strings.HasPrefix(uri, "/") {
		// A request line can hold a whole URL.
		if _, rest, ok := strings.Cut(uri, "://"); ok {
			uri = rest[len(rest)-len(strings.TrimLeftFunc(rest, func(c rune) bool { return c != '/' && c != '?' })):]
		}
	}
	path, query, hasQuery = strings.Cut(uri, "?")
	if path == "" {
		path = "/"
	}
	return path, query, hasQuery
}

// withoutParameter returns the query as it was sent, less one parameter.
func withoutParameter(query, name string) string {
	if name == "" {
		return query
	}
	kept := slices.DeleteFunc(strings.Split(query, "&"), func(raw string) bool {
		sent, _, _ := strings.Cut(raw, "=")
		return strings.EqualFold(unescape(sent), name)
	})
	return strings.Join(kept, "&")
}

// sortedQuery is the query sorted by name.
func sortedQuery(query string) string {
	list := pairs(query)
	slices.SortStableFunc(list, func(a, b pair) int { return strings.Compare(a.name, b.name) })
	raw := make([]string, len(list))
	for i, p := range list {
		raw[i] = p.raw
	}
	return strings.Join(raw, "&")
}

const formType = "application/x-www-form-urlencoded"

func mediaType(r *http.Request) string {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		media, _, _ = strings.Cut(r.Header.Get("Content-Type"), ";")
		media = strings.ToLower(strings.TrimSpace(media))
	}
	return media
}

// parameter returns a parameter that may be there only once: of two, nobody
// could say which one is meant. If from is one part, it is not taken from the
// other, which is not signed.
func parameter(m *Message, name, role string, from Part) (string, error) {
	count, value := 0, ""
	add := func(list []pair) {
		for _, p := range list {
			if strings.EqualFold(p.name, name) {
				count, value = count+1, p.value
			}
		}
	}
	_, query, _ := target(m.Request)
	add(pairs(query))
	if from == PartBody && count > 0 {
		return "", bad("the parameter %q with the %s is in the query, which is not signed: it belongs into the body", name, role)
	}
	if from&PartBody != 0 && mediaType(m.Request) == formType {
		add(pairs(string(m.Body)))
	}
	switch {
	case count > 1:
		return "", bad("the parameter %q with the %s is there %d times: it may be there once", name, role, count)
	case count == 0 && from&PartBody != 0:
		value = m.Field(name)
	}
	if value == "" {
		return "", bad("the parameter %q with the %s is missing or empty: is it in the sender's postback URL?", name, role)
	}
	return value, nil
}

// header returns a header that may be there only once.
func header(r *http.Request, name, role, hint string) (string, error) {
	values := r.Header.Values(name)
	switch {
	case len(values) == 0:
		return "", bad("the header %s with the %s is missing: %s", name, role, hint)
	case len(values) > 1:
		return "", bad("the header %s with the %s is there %d times: it may be there once", name, role, len(values))
	case strings.TrimSpace(values[0]) == "":
		return "", bad("the header %s with the %s is empty: %s", name, role, hint)
	case len(values[0]) > maxSignatureHeader:
		return "", bad("the header %s has %d bytes, at most %d are read: that is no %s", name, len(values[0]), maxSignatureHeader, role)
	}
	return strings.TrimSpace(values[0]), nil
}

// fieldText is a header as a whole: its lines, each without the spaces around
// it, joined by commas. Go keeps Host apart from the others.
func fieldText(r *http.Request, name string) (string, bool) {
	if strings.EqualFold(name, "Host") {
		return r.Host, r.Host != ""
	}
	values := r.Header.Values(name)
	trimmed := make([]string, len(values))
	for i, v := range values {
		trimmed[i] = strings.TrimSpace(v)
	}
	return strings.Join(trimmed, ", "), len(values) > 0
}

// validHeader reports whether name can be a header's.
func validHeader(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(c rune) bool {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		return !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", c)
	})
}
