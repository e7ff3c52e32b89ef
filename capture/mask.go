package capture

import (
	"bytes"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// redacted stands where a secret was.
const redacted = "REDACTED"

// Masked returns the raw request with the values of secrets replaced, for
// showing: those of the parameter "token", of what the route knew to hold
// secrets, and of the extra names, in the headers, in the query and in a form or JSON body, at any level and also in
// JSON within a form. A body that cannot be taken apart safely and may hold
// one is replaced as a whole. For the extra names see [Route.SecretParams]. r
// itself does not change.
func (r Raw) Masked(extra ...string) Raw {
	m := masker{tokenParam}
	for _, name := range slices.Concat(r.Secrets, extra) {
		if name != "" {
			m = append(m, maskName(name))
		}
	}
	r.Headers = m.headers(r.Headers)
	if path, query, ok := strings.Cut(r.URI, "?"); ok {
		r.URI = path + "?" + m.form(query)
	}
	r.Body = m.body(r.ContentType, r.Body)
	return r
}

// masker holds the secrets' names in lower case.
type masker []string

// maskName returns what is masked for a parameter: all of what it is taken
// from, and rather too much than too little.
func maskName(name string) string {
	p, err := parseParam(name)
	switch {
	case err != nil:
	case p.header != "":
		name = headerPrefix + p.header
	case p.path == nil:
		name = p.plain
	default:
		name = lastName(p.path)
	}
	return strings.ToLower(name)
}

// lastName returns the last of the names in a path: it is masked wherever it
// stands.
func lastName(path []step) string {
	for _, s := range slices.Backward(path) {
		if s.name != "" {
			return s.name
		}
	}
	return ""
}

func (m masker) headers(headers map[string]string) map[string]string {
	headers = maps.Clone(headers)
	for name := range headers {
		if m.secret(headerPrefix+name) || m.secret(name) {
			headers[name] = redacted
		}
	}
	return headers
}

func (m masker) secret(name string) bool { return slices.Contains(m, strings.ToLower(name)) }

// form leaves everything but the secrets' values as it is.
func (m masker) form(s string) string {
	var b strings.Builder
	for i, pair := range strings.Split(s, "&") {
		if i > 0 {
			b.WriteByte('&')
		}
		name, value, _ := strings.Cut(pair, "=")
		if value != "" && m.secret(unescape(name)) {
			pair = name + "=" + redacted
		} else if masked, ok := m.wrapped(value); ok {
			pair = name + "=" + masked
		} else if mangled(pair) && m.mayHold([]byte(decodePercent(decodePercent(pair)))) {
			pair = redacted // what repairQuery reads has to be hidden as well
		}
		b.WriteString(pair)
	}
	return b.String()
}

// wrapped masks what is in a form's value that is itself JSON; ok is false if
// nothing has to be changed.
func (m masker) wrapped(value string) (masked string, ok bool) {
	doc := strings.TrimSpace(unescape(value))
	if !isDocument(doc) {
		return "", false
	}
	out := string(m.json([]byte(doc)))
	return url.QueryEscape(out), out != doc
}

func isDocument(s string) bool { return s != "" && (s[0] == '{' || s[0] == '[') }

func (m masker) body(contentType string, body []byte) []byte {
	switch kindOf(contentType, body) {
	case formBody:
		return m.formBody(contentType, body)
	case jsonBody:
		return m.json(body)
	case multipartBody:
		hit := false
		err := eachPart(contentType, body, func(name string, part io.Reader) error {
			value, err := io.ReadAll(part)
			hit = hit || m.secret(name) || isDocument(string(bytes.TrimSpace(value))) && m.mayHold(value)
			return err
		})
		if hit || err != nil {
			return []byte(redacted)
		}
	}
	return body
}

// formBody masks what was read as a form. If it was read so only for want of
// anything better, a secret may stand anywhere in it.
func (m masker) formBody(contentType string, body []byte) []byte {
	if mediaTypeOf(contentType) != formType || bytes.ContainsAny(body, "{[") {
		for pair := range bytes.SplitSeq(body, []byte("&")) {
			name, _, _ := bytes.Cut(pair, []byte("="))
			if !m.secret(unescape(string(name))) && m.mayHold(pair) {
				return []byte(redacted)
			}
		}
	}
	return []byte(m.form(string(body)))
}

func (m masker) json(body []byte) []byte {
	type span struct{ from, to int }
	var spans []span
	w := jsonWalk{member: func(key string, path []byte, from, to int) {
		if !m.secret(key) && (len(path) > maxParamName || !m.secret(string(path))) {
			return
		}
		for n := len(spans); n > 0 && spans[n-1].from >= from; n-- {
			spans = spans[:n-1] // inside this one
		}
		spans = append(spans, span{from, to})
	}}
	if err := w.walk(body); err != nil {
		if m.mayHold(body) {
			return []byte(redacted)
		}
		return body
	}
	if len(spans) == 0 {
		return body
	}
	var out []byte
	last := 0
	for _, s := range spans {
		out = append(out, body[last:s.from]...)
		out = append(out, `"`+redacted+`"`...)
		last = s.to
	}
	return append(out, body[last:]...)
}

// mayHold looks for the names in text that cannot be parsed. A name can hide
// behind JSON's escapes.
func (m masker) mayHold(body []byte) bool {
	lower := bytes.ToLower(body)
	return bytes.Contains(lower, []byte(`\u`)) || slices.ContainsFunc(m, func(name string) bool {
		return bytes.Contains(lower, []byte(name[strings.LastIndexByte(name, '.')+1:]))
	})
}
