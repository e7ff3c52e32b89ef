package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-capture/caddy-capture/capture"
)

// A template is the text of an option with its placeholders, read once when
// the configuration is loaded.
type template []part

// part is a piece of a template.
type part struct {
	kind partKind
	// text is the literal text, or the name of what stands in its place.
	text string
	// enc is how the value is written into a URL.
	enc encoding
}

type partKind uint8

const (
	partLiteral  partKind = iota
	partClickID           // {click_id}
	partCampaign          // {campaign}
	partSource            // {source}
	partSub               // {sub.<name>}
	partQuery             // {query.<name>}
	partCaddy             // any other of Caddy's placeholders
)

// key returns the placeholder as it is shown in errors.
func (p *part) key() string {
	switch p.kind {
	case partClickID:
		return "{click_id}"
	case partCampaign:
		return "{campaign}"
	case partSource:
		return "{source}"
	case partSub:
		return "{sub." + p.text + "}"
	case partQuery:
		return "{query." + p.text + "}"
	default:
		return "{" + p.text + "}"
	}
}

// parseTemplate reads a template. Placeholders that no request changes
// ({env.*}, {file.*}, {system.*}) are replaced at once, and what they stand for
// is read as a part of the template.
func parseTemplate(text string) (template, error) {
	text, err := replaceFixed(text)
	if err != nil {
		return nil, err
	}
	var t template
	for {
		before, key, rest, err := cutPlaceholder(text)
		if err != nil {
			return nil, err
		}
		if before = unescapeBraces.Replace(before); before != "" {
			t = append(t, part{kind: partLiteral, text: before})
		}
		if key == "" {
			return t, nil
		}
		p, err := readPlaceholder(key)
		if err != nil {
			return nil, err
		}
		t = append(t, p)
		text = rest
	}
}

// unescapeBraces makes braces of those that are written with a backslash.
var unescapeBraces = strings.NewReplacer(`\{`, `{`, `\}`, `}`)

// cutPlaceholder finds the first placeholder of text; without one, key is
// empty.
func cutPlaceholder(text string) (before, key, rest string, err error) {
	for i := range len(text) {
		if text[i] != '{' || i > 0 && text[i-1] == '\\' {
			continue
		}
		key, rest, ok := strings.Cut(text[i+1:], "}")
		if !ok || key == "" {
			return "", "", "", errors.New(`it has a "{" that opens no placeholder: write \{ for the character itself`)
		}
		return text[:i], key, rest, nil
	}
	return text, "", "", nil
}

// replaceFixed replaces the placeholders that no request changes. One that
// stands for nothing is an error: a forgotten variable would go unnoticed.
func replaceFixed(text string) (string, error) {
	if !strings.Contains(text, "{") {
		return text, nil
	}
	repl := caddy.NewReplacer()
	var b strings.Builder
	for {
		before, key, rest, err := cutPlaceholder(text)
		if err != nil {
			return "", err
		}
		b.WriteString(before)
		if key == "" {
			return b.String(), nil
		}
		switch {
		case strings.HasPrefix(key, "env."), strings.HasPrefix(key, "file."), strings.HasPrefix(key, "system."):
			value, _ := repl.GetString(key)
			if value == "" {
				return "", fmt.Errorf("the placeholder {%s} is empty", key)
			}
			b.WriteString(value)
		default:
			b.WriteString("{" + key + "}")
		}
		text = rest
	}
}

// readPlaceholder tells what a placeholder stands for. The Caddyfile adapter
// has already written Caddy's short forms out; in JSON they are taken too.
func readPlaceholder(key string) (part, error) {
	key = expandShorthand(key)
	switch key {
	case "click_id", placeholderClickID:
		return part{kind: partClickID}, nil
	case "campaign", placeholderCampaign:
		return part{kind: partCampaign}, nil
	case "source", placeholderSource:
		return part{kind: partSource}, nil
	}
	if name, ok := strings.CutPrefix(key, "sub."); ok {
		return part{kind: partSub, text: name}, nil
	}
	for _, prefix := range []string{"query.", "http.request.uri.query."} {
		if name, ok := strings.CutPrefix(key, prefix); ok {
			return part{kind: partQuery, text: name}, nil
		}
	}
	// All of Caddy's placeholders have a dot; a word without one is a
	// misspelt short form, which would be empty for every visitor.
	if !strings.Contains(key, ".") {
		return part{}, fmt.Errorf("unknown placeholder {%s}: allowed are {click_id}, {campaign}, {source}, "+
			`{sub.<name>} and Caddy's own; write \{%s\} for the text itself`, key, key)
	}
	return part{kind: partCaddy, text: key}, nil
}

func expandShorthand(key string) string {
	if strings.HasPrefix(key, "http.") {
		return key
	}
	segment := caddyfile.Segment{{Text: "{" + key + "}"}}
	httpcaddyfile.NewShorthandReplacer().ApplyToSegment(&segment)
	return strings.TrimSuffix(strings.TrimPrefix(segment[0].Text, "{"), "}")
}

// check refuses the short forms that have no value where the template is used.
func (t template) check(allowed ...partKind) error {
	for i := range t {
		switch t[i].kind {
		case partLiteral, partQuery, partCaddy:
			continue
		}
		ok := false
		for _, kind := range allowed {
			ok = ok || t[i].kind == kind
		}
		if !ok {
			return fmt.Errorf("the placeholder %s has no value yet where this is worked out", t[i].key())
		}
	}
	return nil
}

// fixed returns the text of a template without placeholders.
func (t template) fixed() (string, bool) {
	switch {
	case len(t) == 0:
		return "", true
	case len(t) == 1 && t[0].kind == partLiteral:
		return t[0].text, true
	}
	return "", false
}

// expand returns the text for one visit, unencoded.
func (t template) expand(v *visit) string {
	switch len(t) {
	case 0:
		return ""
	case 1:
		return v.value(&t[0])
	}
	var b strings.Builder
	for i := range t {
		b.WriteString(v.value(&t[i]))
	}
	return b.String()
}

// visit is what templates take their values from.
type visit struct {
	r     *http.Request
	repl  *caddy.Replacer
	query queryValues
	click *capture.Click
}

// value returns what stands in the place of p. What is missing is empty.
func (v *visit) value(p *part) string {
	switch p.kind {
	case partLiteral:
		return p.text
	case partClickID:
		return idMark
	case partCampaign:
		return v.click.Campaign
	case partSource:
		return v.click.Source
	case partSub:
		return v.click.Sub(p.text)
	case partQuery:
		return v.query.get(p.text)
	default:
		s, _ := v.repl.GetString(p.text)
		return s
	}
}
