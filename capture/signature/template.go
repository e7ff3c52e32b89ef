package signature

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// hole is what a template's placeholder stands for.
type hole uint8

const (
	holeText hole = iota // no placeholder: text as it is
	holeBody
	holeTimestamp
	holeID
	holeMethod
	holePath
	holeQuery
	holeQuerySorted
	holeHeader
	holeField
	holeSecret
)

// holes are the placeholders by name. Those that begin with "http.request."
// are how a Caddyfile writes its own shorthands out before a module sees them.
var holes = map[string]hole{
	"body": holeBody, "http.request.body": holeBody,
	"timestamp": holeTimestamp, "id": holeID,
	"method": holeMethod, "http.request.method": holeMethod,
	"path": holePath, "http.request.uri.path": holePath,
	"query": holeQuery, "http.request.uri.query": holeQuery,
	"query_sorted": holeQuerySorted,
	"header.":      holeHeader, "http.request.header.": holeHeader,
	"field.": holeField,
	"secret": holeSecret,
}

const (
	payloadPlaceholders = "{body} {timestamp} {id} {method} {path} {query} {query_sorted} {header.<name>} {field.<name>}"
	secretPlaceholders  = "{field.<name>} {secret}"
)

// part is a piece of a template: text, or a placeholder and its name.
type part struct {
	hole hole
	text string
}

type template []part

// parseTemplate reads text with placeholders. A backslash takes a brace or
// another backslash literally, and \n, \r and \t are the usual ones, since
// many schemes join by line breaks.
func parseTemplate(s, allowed string, takes ...hole) (template, error) {
	var t template
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			t = append(t, part{text: text.String()})
			text.Reset()
		}
	}
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			at := -1
			if i++; i < len(s) {
				at = strings.IndexByte(`nrt\{}`, s[i])
			}
			if at < 0 {
				return nil, fmt.Errorf(`the template %q has a backslash before something else than n, r, t, {, } or \`, s)
			}
			text.WriteByte("\n\r\t\\{}"[at])
		case '{':
			end := strings.IndexByte(s[i:], '}')
			if end < 0 {
				return nil, fmt.Errorf(`the template %q has a { without its }; a brace that is meant so is written \{`, s)
			}
			p, err := placeholder(s[i+1:i+end], allowed, takes)
			if err != nil {
				return nil, err
			}
			flush()
			t = append(t, p)
			i += end
		default:
			text.WriteByte(s[i])
		}
	}
	flush()
	if len(t) == 0 {
		return nil, errors.New("the template is empty")
	}
	return t, nil
}

func placeholder(name, allowed string, takes []hole) (part, error) {
	p := part{hole: holes[name]}
	if p.hole == holeText || strings.HasSuffix(name, ".") {
		p.hole = holeText
		for _, family := range [...]string{"header.", "http.request.header.", "field."} {
			if rest, ok := strings.CutPrefix(name, family); ok && rest != "" {
				p = part{hole: holes[family], text: rest}
			}
		}
	}
	if p.hole == holeText || !slices.Contains(takes, p.hole) {
		return part{}, fmt.Errorf("unknown placeholder %q; allowed are %s", "{"+name+"}", allowed)
	}
	if p.hole == holeHeader && !validHeader(p.text) {
		return part{}, fmt.Errorf("placeholder %q: %q cannot be the name of a header", "{"+name+"}", p.text)
	}
	return p, nil
}

// has reports whether the template has one of the placeholders.
func (t template) has(some ...hole) bool {
	return slices.ContainsFunc(t, func(p part) bool { return slices.Contains(some, p.hole) })
}

// named reports whether the template has a placeholder of that name.
func (t template) named(h hole, name string) bool {
	return slices.ContainsFunc(t, func(p part) bool {
		return p.hole == h && (p.text == name || h == holeHeader && strings.EqualFold(p.text, name))
	})
}

// filling is what goes into a template beside the message.
type filling struct {
	timestamp, id string
	without       string // the parameter that holds the signature
	secret        []byte
}

// fill puts a message into the template.
func (t template) fill(m *Message, f filling) []byte {
	if len(t) == 1 && t[0].hole == holeBody {
		return m.Body
	}
	path, query, _ := target(m.Request)
	query = withoutParameter(query, f.without)
	out := make([]byte, 0, len(m.Body)+256)
	for _, p := range t {
		switch p.hole {
		case holeText:
			out = append(out, p.text...)
		case holeBody:
			out = append(out, m.Body...)
		case holeTimestamp:
			out = append(out, f.timestamp...)
		case holeID:
			out = append(out, f.id...)
		case holeMethod:
			out = append(out, m.Request.Method...)
		case holePath:
			out = append(out, path...)
		case holeQuery:
			out = append(out, query...)
		case holeQuerySorted:
			out = append(out, sortedQuery(query)...)
		case holeHeader:
			value, _ := fieldText(m.Request, p.text)
			out = append(out, value...)
		case holeField:
			out = append(out, m.Field(p.text)...)
		case holeSecret:
			out = append(out, f.secret...)
		}
	}
	return out
}

// follows returns the text right behind a placeholder, "" if there is none.
func (t template) follows(h hole) string {
	for i, p := range t {
		if p.hole == h && i+1 < len(t) && t[i+1].hole == holeText {
			return t[i+1].text
		}
	}
	return ""
}
