package network

import (
	"regexp"
	"slices"
	"strings"

	"github.com/caddy-capture/caddy-capture/capture"
)

// Style is one way to mark macros.
type Style struct {
	// Name is what the catalogue calls it.
	Name        string
	Open, Close string
	// whole says that the marks occur in ordinary values as well, so that a
	// macro has to be all of the value.
	whole bool
}

// styles are all that networks use, those first that others begin with.
var styles = []Style{
	{Name: "[[[]]]", Open: "[[[", Close: "]]]"},
	{Name: "[[]]", Open: "[[", Close: "]]"},
	{Name: "[==]", Open: "[=", Close: "=]"},
	{Name: "[]", Open: "[", Close: "]"},
	{Name: "${}", Open: "${", Close: "}"},
	{Name: "#{}", Open: "#{", Close: "}"},
	{Name: "{{}}", Open: "{{", Close: "}}"},
	{Name: "{}", Open: "{", Close: "}"},
	{Name: "##", Open: "##", Close: "##"},
	{Name: "#", Open: "#", Close: "#"},
	{Name: "!!!", Open: "!!!", Close: "!!!"},
	{Name: "%%", Open: "%%", Close: "%%", whole: true},
	{Name: "%", Open: "%", Close: "%", whole: true},
	{Name: "<>", Open: "<", Close: ">", whole: true},
	{Name: "__", Open: "__", Close: "__", whole: true},
	{Name: "()", Open: "(", Close: ")", whole: true},
	{Name: "xx", Open: "xx", Close: "xx", whole: true},
}

// styleOf returns the style of that name.
func styleOf(name string) (Style, bool) {
	i := slices.IndexFunc(styles, func(s Style) bool { return s.Name == name })
	if i < 0 {
		return Style{}, false
	}
	return styles[i], true
}

// wrap writes a name as a macro.
func (s Style) wrap(name string) string { return s.Open + name + s.Close }

// macro is one macro in a text.
type macro struct {
	text, name string
	style      Style
	from, to   int
}

var macroName = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_.:$()-]{0,63}$`)

// findMacros finds the macros of every style in a value, in order.
func findMacros(v string) []macro {
	var found []macro
	for i := 0; i < len(v); {
		m, ok := macroAt(v, i)
		if !ok {
			i++
			continue
		}
		found = append(found, m)
		i = m.to
	}
	return found
}

func macroAt(v string, at int) (macro, bool) {
	for _, s := range styles {
		rest, ok := strings.CutPrefix(v[at:], s.Open)
		if !ok || s.whole && at > 0 {
			continue
		}
		// The close of ${x} ends at the first brace, that of [[[x]]] at the
		// first three brackets.
		n := strings.Index(rest, s.Close)
		if n <= 0 || !macroName.MatchString(rest[:n]) {
			continue
		}
		to := at + len(s.Open) + n + len(s.Close)
		if s.whole && (to != len(v) || s.Name == "()" && rest[:n] != strings.ToUpper(rest[:n])) {
			continue
		}
		return macro{text: v[at:to], name: rest[:n], style: s, from: at, to: to}, true
	}
	return macro{}, false
}

var digits = regexp.MustCompile(`[0-9]+`)

// family writes # for the number in a macro's name, as the catalogue does.
func family(text string) string { return digits.ReplaceAllString(text, "#") }

// texts are all macros that the catalogue has of the network: those for fields
// first. In families # stands for a number.
func (n *Network) texts() []string {
	var all []string
	for _, f := range capture.Fields {
		if m := n.Macros[f]; m != "" {
			all = append(all, m)
		}
	}
	for _, m := range n.Extra {
		all = append(all, m)
	}
	return append(all, n.Known...)
}

// knows tells whether the network has this very macro.
func (n *Network) knows(text string) bool {
	return slices.Contains(n.texts(), text) || slices.Contains(n.Known, family(text))
}

// likely returns the network's macro that was probably meant: the same but for
// the case of letters or the brackets.
func (n *Network) likely(m macro) (text string, wrongCase bool) {
	for _, t := range n.texts() {
		if strings.EqualFold(t, m.text) {
			return t, true
		}
	}
	for _, t := range n.Known {
		if strings.EqualFold(t, family(m.text)) {
			return numbered(t, m.text), true
		}
	}
	for _, t := range n.texts() {
		for _, have := range findMacros(t) {
			if strings.EqualFold(have.name, m.name) {
				return t, false
			}
		}
	}
	style, ok := styleOf(n.Style)
	if !ok {
		return "", false
	}
	for _, t := range n.Known {
		if written := style.wrap(m.name); strings.EqualFold(t, family(written)) {
			return numbered(t, written), false
		}
	}
	return "", false
}

// numbered puts the number of text in the place of the # of its family.
func numbered(fam, text string) string {
	at := digits.FindStringIndex(text)
	if at == nil || at[0] >= len(fam) {
		return fam
	}
	return fam[:at[0]] + text[at[0]:at[1]] + fam[at[0]+1:]
}

// field returns for which of our fields the macro is.
func (n *Network) field(text string) (capture.Field, bool) {
	for _, f := range capture.Fields {
		if n.Macros[f] == text {
			return f, true
		}
	}
	return "", false
}

// elsewhere lists the titles of up to three other networks that know a macro.
func elsewhere(n *Network, text string) []string {
	var titles []string
	for _, o := range catalogue() {
		if o.Name != n.Name && o.knows(text) && len(titles) < 3 {
			titles = append(titles, o.Title)
		}
	}
	return titles
}
