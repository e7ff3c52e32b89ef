package network

import (
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// checkParam says what is wrong with one parameter.
func (c *checker) checkParam(p *pasted) {
	where := "parameter " + shown(p.name)
	switch {
	case p.ours || p.token:
		return
	case p.name == "":
		c.say(Error, where, "", "there is a value without a parameter's name before it: %s", shown(p.value))
		p.drop = true
		return
	}
	c.decodeMacros(p, where)
	macros := findMacros(p.out)
	switch {
	case c.n.Webhook() && len(macros) > 0:
		c.say(Error, where, "", "%s fills in no macros: it decides itself what it sends, so enter the bare address", c.n.Title)
		p.drop = true
	case p.field == "":
		c.checkUnread(p, where)
	case p.out == "":
		c.checkEmpty(p, where)
	case len(macros) == 0:
		c.checkFixed(p, where)
	default:
		c.checkMacros(p, where, macros)
	}
}

// decodeMacros undoes the percent-encoding of macros, once or twice: hardly a
// network recognises them then.
func (c *checker) decodeMacros(p *pasted, where string) {
	if strings.IndexByte(p.out, '%') < 0 || len(findMacros(p.out)) > 0 {
		return
	}
	plain := p.out
	for range 2 {
		var err error
		if plain, err = url.PathUnescape(plain); err != nil {
			return
		}
		if found := findMacros(plain); len(found) > 0 && !strings.ContainsAny(plain, "&#?") || c.isMarked(plain) {
			c.say(Error, where, p.name+"="+plain,
				"the macro is percent-encoded: %s replaces it only as it is, %s", c.n.Title, shown(plain))
			p.out = plain
			return
		}
	}
}

// isMarked tells whether all of a value is one macro, whatever its marks.
func (c *checker) isMarked(v string) bool {
	m, ok := macroAt(v, 0)
	return ok && m.to == len(v)
}

func (c *checker) checkEmpty(p *pasted, where string) {
	want := c.n.Macros[p.field]
	if want == "" {
		c.say(Hint, where, "", "it is empty, so it does nothing")
		p.drop = true
		return
	}
	severity := Warning
	if p.field == capture.FieldClickID {
		severity = Error
	}
	c.say(severity, where, p.name+"="+want, "it is empty: %s fills in %s", c.n.Title, want)
	p.out = want
}

// checkFixed judges a value that has no macro in it, and so is the same in
// every postback.
func (c *checker) checkFixed(p *pasted, where string) {
	want := c.n.Macros[p.field]
	value, err := url.QueryUnescape(p.out)
	if err != nil {
		value = p.out
	}
	fix := ""
	if want != "" {
		fix = p.name + "=" + want
	}
	replace := func(s Severity, format string, args ...any) {
		c.say(s, where, fix, format, args...)
		if p.out = want; want == "" {
			p.drop = true
		}
	}
	switch p.field {
	case capture.FieldClickID, capture.FieldTxID, capture.FieldTime:
		replace(Error, "%s is fixed text, the same in every postback; %s", shown(value), c.macroFor(p.field))
	case capture.FieldPayout:
		if _, _, err := attribution.ParsePayout(value); err != nil {
			replace(Error, "%s is fixed text and no amount; %s", shown(value), c.macroFor(p.field))
			return
		}
		c.say(Warning, where, fix, "every conversion earns %s then, whatever %s says; %s", shown(value), c.n.Title, c.macroFor(p.field))
	case capture.FieldCurrency:
		if _, err := attribution.ParseCurrency(value); err != nil {
			replace(Error, "%s is no currency; %s", shown(value), c.macroFor(p.field))
		}
	case capture.FieldStatus:
		c.checkFixedStatus(p, where, fix, value)
	}
}

func (c *checker) checkFixedStatus(p *pasted, where, fix, value string) {
	_, err := attribution.ParseStatus(value)
	known := err == nil
	for _, words := range c.n.Statuses {
		known = known || slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(w, value) })
	}
	switch want := c.n.Macros[p.field]; {
	case !known:
		c.say(Error, where, fix, "%s is no status that the route knows: write approved, pending, rejected or reversed, or the network's macro", shown(value))
		if p.out = want; want == "" {
			p.drop = true
		}
	case want != "":
		c.say(Warning, where, fix, "every conversion is %s then, even one that %s takes back; %s", shown(value), c.n.Title, c.macroFor(p.field))
	}
}

// macroFor is the end of a sentence: what to write for a field.
func (c *checker) macroFor(f capture.Field) string {
	if m := c.n.Macros[f]; m != "" {
		return "its macro at " + c.n.Title + " is " + m
	}
	return c.n.Title + " has no known macro for it, so leave the parameter out"
}

// checkMacros judges a value with macros in it.
func (c *checker) checkMacros(p *pasted, where string, macros []macro) {
	want := c.n.Macros[p.field]
	if len(macros) > 1 || macros[0].text != p.out {
		plain := p.field == capture.FieldTxID || p.field == capture.FieldEvent
		if !plain {
			c.say(Error, where, c.fixOf(p, want), "there is more in it than the macro: %s arrives as one text that cannot be read", shown(p.out))
			if want == "" {
				want = macros[0].text
			}
			p.out = want
			if m, ok := macroAt(want, 0); ok && m.text == macros[0].text {
				return
			}
		}
	}
	for _, m := range macros {
		right, ok := c.judge(p, where, m)
		if ok {
			continue
		}
		if right == "" {
			right = want
		}
		if right == "" {
			p.drop = true
			return
		}
		p.out = strings.Replace(p.out, m.text, right, 1)
	}
}

func (c *checker) fixOf(p *pasted, macro string) string {
	if macro == "" {
		return ""
	}
	return p.name + "=" + macro
}

// judge says what is wrong with one macro, and which one was meant: "" is the
// field's own. It is ok if nothing is to be changed.
func (c *checker) judge(p *pasted, where string, m macro) (right string, ok bool) {
	n, want := c.n, c.n.Macros[p.field]
	if m.text == want {
		return "", true
	}
	if n.knows(m.text) {
		return c.judgeKnown(p, where, m)
	}
	if text, wrongCase := n.likely(m); text != "" {
		if f, is := n.field(text); is && f != p.field && want != "" {
			text = want
		}
		if wrongCase {
			c.say(Error, where, c.fixOf(p, text), "%s is written %s at %s: capital letters matter", m.text, text, n.Title)
		} else {
			c.say(Error, where, c.fixOf(p, text), "%s has the wrong brackets for %s, which writes its macros like %s", m.text, n.Title, text)
		}
		return text, false
	}
	severity := Warning
	if p.field == capture.FieldClickID {
		severity = Error
	}
	if m.text == ourPlaceholder {
		c.say(Error, where, c.fixOf(p, want), "%s is our own placeholder, for the offer link; %s", m.text, c.macroFor(p.field))
		return "", false
	}
	if others := elsewhere(n, m.text); len(others) > 0 {
		c.say(Error, where, c.fixOf(p, want), "%s is a macro of %s; %s does not know it, and %s",
			m.text, strings.Join(others, ", "), n.Title, c.macroFor(p.field))
		return "", false
	}
	if m.style.Name != n.Style {
		severity = Error
	}
	c.say(severity, where, c.fixOf(p, want), "%s is not among the macros of %s that we know; %s", m.text, n.Title, c.macroFor(p.field))
	return "", severity == Warning
}

// judgeKnown judges a macro that the network has, but not for this field.
func (c *checker) judgeKnown(p *pasted, where string, m macro) (right string, ok bool) {
	n, want := c.n, c.n.Macros[p.field]
	if p.field == capture.FieldClickID && slices.ContainsFunc(n.Link.Also, func(s string) bool { return strings.EqualFold(s, m.name) }) {
		c.say(Hint, where, "", "%s is fine if the click ID is in the parameter %s of the offer link, as %s=%s", m.text, m.name, m.name, ourPlaceholder)
		return "", true
	}
	f, is := n.field(m.text)
	switch {
	case is && want != "":
		c.say(Error, where, c.fixOf(p, want), "%s is the macro of %s for the %s; %s", m.text, n.Title, f, c.macroFor(p.field))
		return "", false
	case is && p.field != capture.FieldTxID && p.field != capture.FieldEvent:
		c.say(Error, where, "", "%s is the macro of %s for the %s, not for the %s", m.text, n.Title, f, p.field)
		return "", false
	case want != "":
		severity := Warning
		if p.field == capture.FieldClickID {
			severity = Error
		}
		c.say(severity, where, c.fixOf(p, want), "%s is a macro of %s, but of something else; %s", m.text, n.Title, c.macroFor(p.field))
		money := p.field == capture.FieldPayout || p.field == capture.FieldCurrency
		return "", severity == Warning && !money
	}
	return "", true
}

// checkUnread looks at a parameter that the route does not read.
func (c *checker) checkUnread(p *pasted, where string) {
	if _, ok := c.n.Extra[p.name]; ok {
		return
	}
	if c.n.Verify.Field != "" && strings.EqualFold(p.name, c.n.Verify.Field) {
		return
	}
	for _, m := range findMacros(p.out) {
		if f, is := c.n.field(m.text); is && !c.has(f) {
			fix := string(f) + "=" + m.text
			c.say(Error, where, fix, "the route does not read %s: the %s goes into the parameter %s", shown(p.name), f, f)
			p.name, p.field = string(f), f
			return
		}
	}
	if near := c.nearestParam(p.name); near != "" {
		c.say(Warning, where, near+"="+shown(p.out), "the route does not read %s: did you mean %s?", shown(p.name), near)
		return
	}
	c.say(Hint, where, "", "the route does not read %s, which does no harm", shown(p.name))
}

// has tells whether the URL has a parameter for the field.
func (c *checker) has(f capture.Field) bool {
	return slices.ContainsFunc(c.params, func(p *pasted) bool { return p.field == f && !p.drop })
}

// nearestParam returns a parameter that the route reads and that is nearly
// called like this one.
func (c *checker) nearestParam(name string) string {
	key := fold(name)
	if len(key) < 3 {
		return ""
	}
	fields, defaults := c.n.fields(), capture.DefaultFields()
	for _, f := range capture.Fields {
		names, ok := fields[f]
		if !ok {
			names = defaults[f]
		}
		for _, s := range names {
			if k := fold(s); k == key || len(k) > 3 && distance(k, key) == 1 {
				return s
			}
		}
	}
	return ""
}
