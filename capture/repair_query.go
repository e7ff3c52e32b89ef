package capture

import (
	"fmt"
	"slices"
	"strings"
)

const (
	// maxPairs bounds the pairs that come of repairs to one query.
	maxPairs = 64
	// maxRepaired bounds the queries and forms that are repaired. No postback
	// is as long, and whoever wants to cost us time gets little for it.
	maxRepaired = 16 << 10
)

// lookup tells whether the route wants a parameter of that name, and whether
// the field that it is for is still without a value.
type lookup func(name string) (wanted, lacking bool)

// mangled tells whether a query or form may need repair. It is one look at each byte, which is
// all that a clean query costs.
func mangled(query string) bool {
	if strings.IndexByte(query, '?') >= 0 || strings.IndexByte(query, ';') >= 0 {
		return true
	}
	for i := strings.IndexByte(query, '%'); i >= 0; i = strings.IndexByte(query, '%') {
		if isEscapedMark(query[i:]) {
			return true
		}
		query = query[i+1:]
	}
	return false
}

// isEscapedMark tells whether s begins with =, & or ;, percent-encoded once or
// more often.
func isEscapedMark[T string | []byte](s T) bool {
	s = s[1:]
	for len(s) > 2 && s[0] == '2' && s[1] == '5' {
		s = s[2:]
	}
	if len(s) < 2 {
		return false
	}
	switch s[0] {
	case '2':
		return s[1] == '6'
	case '3':
		return s[1]|0x20 == 'd' || s[1]|0x20 == 'b'
	}
	return false
}

// queryRepair takes a query apart as its author meant it: with a second ? or a
// ; in the place of an &, with &amp; out of an HTML page, or encoded as a
// whole. It does so only where that yields a parameter that the route wants
// and that is given nowhere else, so nothing plainly said is overridden.
type queryRepair struct {
	look  lookup
	out   []string
	todo  []string // pairs not looked at yet, last one first
	notes []string
	said  []string // the notes without their names
	split int      // how many pairs came of repairs
}

// repairQuery returns the query put right, and a sentence for each kind of
// repair; without one the query is as it was.
func repairQuery(query string, look lookup) (string, []string) {
	if len(query) > maxRepaired || !mangled(query) {
		return query, nil
	}
	q := queryRepair{look: look}
	for pair := range strings.SplitSeq(query, "&") {
		q.todo = append(q.todo[:0], pair)
		for len(q.todo) > 0 {
			last := len(q.todo) - 1
			next := q.todo[last]
			q.todo = q.todo[:last]
			q.pair(next)
		}
	}
	if len(q.notes) == 0 {
		return query, nil
	}
	return strings.Join(q.out, "&"), q.notes
}

func (q *queryRepair) pair(pair string) {
	name, value, hasValue := strings.Cut(pair, "=")
	switch {
	case !mangled(pair) || q.split >= maxPairs:
	case q.htmlEscaped(name, value), !hasValue && q.encodedWhole(pair):
		return
	case q.cut(pair, '?', `a second "?"`), q.cut(pair, ';', `";"`), hasValue && q.encodedRest(name, value):
		return
	}
	q.out = append(q.out, pair)
}

// lacks tells whether a parameter that is written like this is wanted and not
// given.
func (q *queryRepair) lacks(name string) bool {
	if name == "" || len(name) > maxParamName {
		return false
	}
	_, lacking := q.look(unescape(name))
	return lacking
}

// remark says once for each kind of repair where it was made first.
func (q *queryRepair) remark(format, name string) {
	if !slices.Contains(q.said, format) {
		q.said = append(q.said, format)
		q.notes = append(q.notes, fmt.Sprintf(format, echo(unescape(name))))
	}
}

// htmlEscaped mends what comes of &amp;name=value.
func (q *queryRepair) htmlEscaped(name, value string) bool {
	plain := decodePercent(name)
	stripped := plain
	for strings.HasPrefix(stripped, "amp;") {
		stripped = stripped[len("amp;"):]
	}
	if stripped == plain || strings.TrimSpace(unescape(value)) == "" || !q.lacks(stripped) {
		return false
	}
	q.split++
	q.remark("there was \"&amp;\" in the place of \"&\" before %s: write & alone in the postback URL at the sender", stripped)
	q.todo = append(q.todo, stripped+"="+value)
	return true
}

// cut takes a pair apart where mark stands in the place of an &.
func (q *queryRepair) cut(pair string, mark byte, shown string) bool {
	var parts []string
	rest, first := pair, ""
	for i := 0; i < len(rest); i++ {
		if rest[i] != mark {
			continue
		}
		name, ok := nameAhead(rest[i+1:])
		if !ok {
			continue
		}
		if elsewhere(rest[:i]) {
			break // and so do the marks after it
		}
		if first == "" && q.lacks(name) {
			first = name
		}
		parts = append(parts, rest[:i])
		rest, i = rest[i+1:], -1
	}
	if first == "" {
		return false
	}
	return q.addAll(append(parts, rest), "there was "+shown+` in the place of "&" before %s: write & in the postback URL at the sender`, first)
}

// encodedWhole decodes a pair that has no = because it was encoded with the
// rest of the query, like click_id%3Dabc%26payout%3D5.
func (q *queryRepair) encodedWhole(pair string) bool {
	text := pair
	for range 2 {
		text = decodeMarks(text)
		name, ok := nameAhead(strings.TrimLeft(text, "?&"))
		if !ok {
			continue
		}
		if !q.lacks(name) {
			return false
		}
		return q.addAll(strings.Split(strings.TrimLeft(text, "?&"), "&"),
			"the query was percent-encoded as a whole, with %%3D in the place of \"=\" after %s, and was decoded: "+
				"have the sender encode the values alone", name)
	}
	return false
}

// encodedRest takes a pair apart whose & is percent-encoded, like
// payout=5%26click_id%3Dabc, where the route wants the pair itself: the value
// of a parameter that is not ours to read may be a query of its own.
func (q *queryRepair) encodedRest(name, value string) bool {
	if wanted, _ := q.look(unescape(name)); !wanted {
		return false
	}
	text := value
	for range 2 {
		text = decodeMarks(text)
		before, rest, ok := strings.Cut(text, "&")
		if !ok || elsewhere(before) {
			continue
		}
		first, ok := nameAhead(rest)
		if !ok || !q.lacks(first) {
			continue
		}
		return q.addAll(append([]string{name + "=" + before}, strings.Split(rest, "&")...),
			"there was %%26 in the place of \"&\" before %s: write & in the postback URL at the sender", first)
	}
	return false
}

// addAll puts the parts of a pair in its place, without those that say again
// what is given plainly: these must not win over it.
func (q *queryRepair) addAll(parts []string, note, name string) bool {
	if len(parts) > maxPairs {
		return false
	}
	q.remark(note, name)
	q.split += len(parts)
	for i := len(parts) - 1; i >= 0; i-- {
		name, _, _ := strings.Cut(parts[i], "=")
		if wanted, lacking := q.look(unescape(name)); i == 0 || !wanted || lacking {
			q.todo = append(q.todo, parts[i])
		}
	}
	return true
}

// decodeMarks decodes one layer of percent-encoding around = and &, and leaves
// that of other bytes to whoever reads the values.
func decodeMarks(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '%' || !isEscape(s[i:]):
			b.WriteByte(s[i])
			continue
		case s[i+1] == '3' && s[i+2]|0x20 == 'd':
			b.WriteByte('=')
		case s[i+1] == '2' && s[i+2] == '6':
			b.WriteByte('&')
		case s[i+1] == '2' && s[i+2] == '5':
			b.WriteByte('%')
		default:
			b.WriteString(s[i : i+3])
		}
		i += 2
	}
	return b.String()
}

// nameAhead returns the name if s begins like a parameter of ours with a value.
func nameAhead(s string) (string, bool) {
	for i := 0; i < len(s) && i <= maxParamName; i++ {
		switch c := s[i]; {
		case c == '=':
			value := s[i+1:]
			if end := strings.IndexAny(value, "&?;"); end >= 0 {
				value = value[:end]
			}
			return s[:i], i > 0 && strings.TrimSpace(unescape(value)) != ""
		case c|0x20 >= 'a' && c|0x20 <= 'z', c >= '0' && c <= '9', c == '_', c == '-', c == '.':
		default:
			return "", false
		}
	}
	return "", false
}

// elsewhere tells whether what precedes a mark is an address of its own, to
// whose query the mark belongs.
func elsewhere(s string) bool {
	_, value, _ := strings.Cut(s, "=")
	if value == "" {
		value = s
	}
	return strings.ContainsAny(decodePercent(value), "/:")
}
