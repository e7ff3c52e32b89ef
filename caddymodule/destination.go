package caddymodule

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// destination is a `to`: a URL with placeholders. Scheme, user, host and port
// are always literal text, so whatever a visitor sends, the redirect leads to
// the host that the owner wrote down.
type destination struct {
	text string   // as configured
	head template // up to the fragment
	tail template // the fragment with its '#'
	// own are the query parameters that the template sets by name.
	own map[string]struct{}
	// hasQuery: the head has a '?'.
	hasQuery bool
	// wholeQuery: the head takes over the request's query.
	wholeQuery bool
	// hasID: the click ID is somewhere in it.
	hasID bool
}

// idMark stands for the click ID in a URL until the ID is known. No value can
// contain it: braces are encoded.
const idMark = "{click_id}"

// parseDestination reads a `to`.
func parseDestination(text string) (*destination, error) {
	parts, err := parseTemplate(text)
	if err != nil {
		return nil, err
	}
	first, next := "", ""
	if len(parts) > 0 && parts[0].kind == partLiteral {
		first, parts = parts[0].text, parts[1:]
	}
	if len(parts) > 0 {
		next = parts[0].key()
	}
	n, err := checkOrigin(first, next)
	if err != nil {
		return nil, err
	}
	d := &destination{text: text}
	b := destinationBuilder{d: d}
	b.text = append(b.text, first[:n]...)
	if err := b.literal(first[n:]); err != nil {
		return nil, err
	}
	for i := range parts {
		if parts[i].kind == partLiteral {
			err = b.literal(parts[i].text)
		} else {
			err = b.placeholder(parts[i])
		}
		if err != nil {
			return nil, err
		}
	}
	b.flush()
	d.own = ownParameters(d.head)
	return d, nil
}

// destinationBuilder collects the parts of a destination.
type destinationBuilder struct {
	d     *destination
	place place
	text  []byte // literal text that is not yet a part
	last  byte   // of the literal text before a placeholder
}

// place is where in a URL something stands.
type place uint8

const (
	inPath place = iota
	inQuery
	inFragment
)

// literal adds literal text. What may not stand in a URL is encoded.
func (b *destinationBuilder) literal(s string) error {
	for i := range len(s) {
		c := s[i]
		switch {
		case isControl(rune(c)):
			return fmt.Errorf("it has the control character %q", c)
		case c == '?' && b.place == inPath:
			b.place, b.d.hasQuery = inQuery, true
		case c == '#' && b.place != inFragment:
			b.flush()
			b.place = inFragment
		case c == '%' && !isEscape(s[i:]), c != '%' && keepBytes[c]&keepLiteral == 0:
			b.text = appendEscape(b.text, c)
			continue
		}
		b.text = append(b.text, c)
	}
	if len(b.text) > 0 {
		b.last = b.text[len(b.text)-1]
	}
	return nil
}

func (b *destinationBuilder) flush() {
	if len(b.text) > 0 {
		b.add(part{kind: partLiteral, text: string(b.text)})
		b.text = b.text[:0]
	}
}

func (b *destinationBuilder) add(p part) {
	if b.place == inFragment {
		b.d.tail = append(b.d.tail, p)
	} else {
		b.d.head = append(b.d.head, p)
	}
}

// placeholder adds a placeholder with the encoding that its place asks for.
func (b *destinationBuilder) placeholder(p part) error {
	p.enc = asValue
	switch p.kind {
	case partClickID:
		p.enc, b.d.hasID = asIs, true
	case partCaddy:
		// Encoding is our work: what Caddy has encoded would be so twice.
		p.text = strings.TrimSuffix(p.text, "_escaped")
		switch key := strings.Replace(p.text, ".orig_uri", ".uri", 1); {
		case b.place == inPath && key == "http.request.uri":
			return fmt.Errorf("the placeholder {%[1]s} holds a path and a query: write {%[1]s.path}?{%[1]s.query}", p.text)
		case b.place == inPath && key == "http.request.uri.prefixed_query":
			if err := b.literal("?"); err != nil {
				return err
			}
			p.text = strings.Replace(p.text, "prefixed_query", "query", 1)
			p.enc = asQuery
		case b.place == inPath && (key == "http.request.uri.path" || key == "http.request.uri.path.dir"):
			p.enc = asPath
		case b.place == inQuery && key == "http.request.uri.query" && (b.last == '?' || b.last == '&'):
			p.enc = asQuery
		}
	}
	b.d.wholeQuery = b.d.wholeQuery || p.enc == asQuery
	b.flush()
	b.add(p)
	b.last = 0
	return nil
}

// ownParameters returns the names of the query parameters that a template sets.
func ownParameters(head template) map[string]struct{} {
	var b strings.Builder
	for i := range head {
		if head[i].kind == partLiteral {
			b.WriteString(head[i].text)
		} else {
			b.WriteByte(0)
		}
	}
	_, query, _ := strings.Cut(b.String(), "?")
	own := make(map[string]struct{})
	for pair := range strings.SplitSeq(query, "&") {
		if name, _, _ := strings.Cut(pair, "="); name != "" && !strings.Contains(name, "\x00") {
			own[unescape(name)] = struct{}{}
		}
	}
	return own
}

// expand appends the URL for one visit, with idMark in the place of the ID.
func (d *destination) expand(dst []byte, v *visit, pass *passing) []byte {
	dst = d.head.expandURL(dst, v)
	if pass != nil {
		dst = pass.appendTo(dst, v.r.URL.RawQuery, d)
	}
	if d.wholeQuery {
		dst = bytes.TrimSuffix(dst, []byte("?"))
	}
	return d.tail.expandURL(dst, v)
}

func (t template) expandURL(dst []byte, v *visit) []byte {
	for i := range t {
		p := &t[i]
		value := v.value(p)
		if p.enc == asPath && len(dst) > 0 && dst[len(dst)-1] == '/' {
			value = strings.TrimLeft(value, "/")
		}
		dst = appendEncoded(dst, value, p.enc)
	}
	return dst
}

// withID returns the URL with the ID in its places.
func withID(marked []byte, codec *clickid.Codec, ref clickid.Ref) string {
	var buf [clickid.Length]byte
	id := codec.Append(buf[:0], ref)
	var b strings.Builder
	b.Grow(len(marked) + 2*clickid.Length)
	for {
		before, after, found := bytes.Cut(marked, []byte(idMark))
		b.Write(before)
		if !found {
			return b.String()
		}
		b.Write(id)
		marked = after
	}
}

// passing is which of the request's query parameters go on to the destination.
type passing struct {
	all   bool
	names map[string]struct{}
}

// appendTo adds the parameters to a URL that has no fragment yet. What the
// destination sets by itself is never overridden.
func (p *passing) appendTo(dst []byte, raw string, d *destination) []byte {
	has := d.hasQuery
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, _, _ := strings.Cut(pair, "=")
		name = unescape(name)
		if _, named := p.names[name]; !p.all && !named {
			continue
		}
		if _, own := d.own[name]; own {
			continue
		}
		last := dst[len(dst)-1]
		switch {
		case !has:
			dst, has = append(dst, '?'), true
		case last != '?' && last != '&':
			dst = append(dst, '&')
		}
		dst = appendEncoded(dst, pair, asQuery)
	}
	return dst
}
