package capture

import (
	"net/http"
	"slices"
	"strings"
	"sync"
)

// matcher finds parameters as a request is read, in one pass, so that one with
// many of them costs no more than its length, whatever is looked for.
type matcher struct {
	params []param
	byText map[string]int
	names  map[string][]target // plain names, in lower case
	// headers are the parameters that are headers.
	headers []target
	// paths is nil if there are only names.
	paths *pathNode
	// txids are the parameters that must hold a transaction ID if they are
	// there at all.
	txids []int
}

// target is one parameter for which a value is wanted.
type target struct {
	param int
	name  string // as configured; exact matches go first
	query string // the parameter to take from the URL that is the value
}

// add returns the number of a parameter, which is the same for the same text.
func (m *matcher) add(text string) (int, error) {
	if n, ok := m.byText[text]; ok {
		return n, nil
	}
	p, err := parseParam(text)
	if err != nil {
		return 0, err
	}
	n := len(m.params)
	if m.byText == nil {
		m.byText, m.names = make(map[string]int), make(map[string][]target)
	}
	m.params, m.byText[text] = append(m.params, p), n
	t := target{param: n, name: p.plain, query: p.query}
	switch {
	case p.header != "":
		t.name = p.header
		m.headers = append(m.headers, t)
	case p.path != nil:
		if m.paths == nil {
			m.paths = new(pathNode)
		}
		m.paths.add(p.path, t)
	default:
		lower := strings.ToLower(p.plain)
		m.names[lower] = append(m.names[lower], t)
	}
	return n, nil
}

// targets returns what a parameter's name is wanted for.
func (m *matcher) targets(name string) []target {
	if len(name) > maxParamName {
		return nil
	}
	return m.names[strings.ToLower(name)]
}

// origin says where a parameter came from; the lower goes first.
type origin uint8

const (
	fromQuery origin = 1
	fromBody  origin = 3 // each of the two matched exactly, then by case folding
)

// found is the best value so far for each parameter of a matcher.
type found struct {
	*matcher
	values []foundValue
	// all are the values of those parameters of which more than the first are
	// wanted, by the parameter's number. Nil: of none.
	all [][]string
}

type foundValue struct {
	rank  origin // 0: nothing found; else lower is better
	value string
}

// foundPool saves each request the memory for what its route looks for.
var foundPool = sync.Pool{New: func() any { return new(found) }}

// found is empty; free gives it back.
func (m *matcher) found() *found {
	f := foundPool.Get().(*found)
	f.matcher = m
	f.values = slices.Grow(f.values, len(m.params))[:len(m.params)]
	return f
}

// free is called once and last.
func (f *found) free() {
	clear(f.values)
	*f = found{values: f.values[:0]}
	foundPool.Put(f)
}

// wantAll asks for all values of some parameters.
func (f *found) wantAll(params []int) {
	if len(params) == 0 {
		return
	}
	f.all = make([][]string, len(f.values))
	for _, n := range params {
		f.all[n] = []string{}
	}
}

// put offers a parameter. Of equally good ones the first non-empty wins.
func (f *found) put(targets []target, name, value string, from origin) {
	if value = strings.TrimSpace(value); value == "" {
		return
	}
	for i := range targets {
		t := &targets[i]
		rank := from
		if t.name != name {
			rank++
		}
		f.offer(t, value, rank)
	}
}

func (f *found) offer(t *target, value string, rank origin) {
	best := &f.values[t.param]
	all := f.all != nil && f.all[t.param] != nil
	if best.rank != 0 && (rank > best.rank || rank == best.rank && !all) {
		return
	}
	if t.query != "" {
		if value = urlParam(value, t.query); value == "" {
			return
		}
	}
	if best.rank == 0 || rank < best.rank {
		best.rank, best.value = rank, value
		if all {
			f.all[t.param] = f.all[t.param][:0]
		}
	}
	if all {
		f.all[t.param] = append(f.all[t.param], value)
	}
}

// first returns the first of some parameters that was found.
func (f *found) first(params []int) string {
	for _, n := range params {
		if v := f.values[n].value; v != "" {
			return v
		}
	}
	return ""
}

// each visits what was found in some parameters, first choice first, until
// visit has enough: all values of those of which all are wanted.
func (f *found) each(params []int, visit func(value string) (more bool)) {
	for _, n := range params {
		if f.all != nil && len(f.all[n]) > 0 {
			for _, v := range f.all[n] {
				if !visit(v) {
					return
				}
			}
			continue
		}
		if v := f.values[n].value; v != "" && !visit(v) {
			return
		}
	}
}

// chosen returns which of some parameters is the one that first returns, or -1.
func (f *found) chosen(params []int) int {
	for _, n := range params {
		if f.values[n].value != "" {
			return n
		}
	}
	return -1
}

// several returns those of some parameters that can have several values.
func (m *matcher) several(params []int) (out []int) {
	for _, n := range params {
		if m.params[n].path != nil {
			out = append(out, n)
		}
	}
	return out
}

// collectHeaders reads the headers that are wanted.
func (f *found) collectHeaders(get func(name string) string) {
	for i := range f.headers {
		t := &f.headers[i]
		if v := strings.TrimSpace(get(t.name)); v != "" {
			f.offer(t, v, fromQuery)
		}
	}
}

// keepHeaders returns the headers that are wanted, fit to be stored; nil if
// there are none.
func (m *matcher) keepHeaders(header http.Header) map[string]string {
	var kept map[string]string
	for _, t := range m.headers {
		v := header.Get(t.name)
		if v == "" {
			continue
		}
		if kept == nil {
			kept = make(map[string]string, len(m.headers))
		}
		kept[t.name] = tidy(v, maxHeader)
	}
	return kept
}

// texts lists parameters as they are configured.
func (m *matcher) texts(params []int) string {
	names := make([]string, len(params))
	for i, n := range params {
		names[i] = m.params[n].text
	}
	return strings.Join(names, ", ")
}

// tidy makes a header's value fit to be stored: valid UTF-8 of bounded length.
func tidy(s string, limit int) string {
	return cutString(strings.ToValidUTF8(s, "\uFFFD"), limit)
}
