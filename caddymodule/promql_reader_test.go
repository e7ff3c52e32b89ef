package caddymodule

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A reader of PromQL, as far as the files in docs use it, that knows the metrics that there are:
// it tells what a query is of and which labels its result has. Prometheus' own parser would be a
// module larger than Capture.

// promMetric is a metric under a name that queries use.
type promMetric struct {
	labels  []string
	counter bool // it only grows
}

// Kinds of values.
const (
	promScalar = "scalar"
	promVector = "instant vector"
	promRange  = "range vector"
)

// promValue is what an expression comes to. Only what is read from a metric is a counter.
type promValue struct {
	kind            string
	labels          []string
	counter, metric bool
}

type promError string

// promReader reads one query.
type promReader struct {
	tokens []string
	known  map[string]promMetric
	used   map[string]bool
}

var (
	promToken = regexp.MustCompile(`^(?:\s+|("(?:\\.|[^"\\])*")|([0-9]+(?:\.[0-9]+)?(?:e[0-9]+)?\b|[0-9]+[smhdw]\b)|([a-zA-Z_:][\w:]*)|(\$\w+)|(==|!=|>=|<=|=~|!~|[-+*/%^<>=(){}\[\],]))`)
	promName  = regexp.MustCompile(`^[a-zA-Z_:][\w:]*$`)
	promSpan  = regexp.MustCompile(`^([0-9]+[smhdw]|\$__rate_interval)$`)
	// promTarget are labels that the scrape adds.
	promTarget = []string{"instance", "job"}
)

// readQuery returns the labels that the result of a query has.
func readQuery(query string, known map[string]promMetric, used map[string]bool) (labels []string, err error) {
	p := &promReader{known: known, used: used}
	defer func() {
		if e, ok := recover().(promError); ok {
			err = fmt.Errorf("%s: %s", string(e), query)
		}
	}()
	for rest := query; rest != ""; {
		m := promToken.FindString(rest)
		if m == "" {
			panic(promError(fmt.Sprintf("cannot be read from %q on", rest)))
		}
		if token := strings.TrimSpace(m); token != "" {
			p.tokens = append(p.tokens, token)
		}
		rest = rest[len(m):]
	}
	v := p.binary(0)
	p.require(len(p.tokens) == 0, "%q is too much", strings.Join(p.tokens, " "))
	p.require(v.kind == promVector && v.metric, "it shows a %s without a metric", v.kind)
	return v.labels, nil
}

func (p *promReader) require(ok bool, format string, args ...any) {
	if !ok {
		panic(promError(fmt.Sprintf(format, args...)))
	}
}

func (p *promReader) peek() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return p.tokens[0]
}

func (p *promReader) next() string {
	token := p.peek()
	p.require(token != "", "it ends too early")
	p.tokens = p.tokens[1:]
	return token
}

func (p *promReader) take(token string) bool {
	if p.peek() != token {
		return false
	}
	p.tokens = p.tokens[1:]
	return true
}

func (p *promReader) expect(token string) {
	got := p.next()
	p.require(got == token, "%q stands where %q should", got, token)
}

// promLevels are the operators, those that bind least first.
var promLevels = [][]string{
	{"or"}, {"and", "unless"}, {"==", "!=", ">", "<", ">=", "<="}, {"+", "-"}, {"*", "/", "%"}, {"^"},
}

func (p *promReader) binary(level int) promValue {
	if level == len(promLevels) {
		return p.operand()
	}
	left := p.binary(level + 1)
	for slices.Contains(promLevels[level], p.peek()) {
		operator := p.next()
		p.require(!p.take("bool") || slices.Contains(promLevels[2], operator), "%s takes no bool", operator)
		var on []string
		matching := p.take("on")
		if matching {
			on = p.names()
		}
		right := p.binary(level + 1)
		left = p.combine(operator, left, right, on, matching)
	}
	return left
}

// combine joins two values. Vectors need the same labels, or to share those of on, to ever match.
func (p *promReader) combine(operator string, left, right promValue, on []string, matching bool) promValue {
	p.require(left.kind != promRange && right.kind != promRange, "%s takes no range", operator)
	set := slices.Contains([]string{"and", "or", "unless"}, operator)
	if left.kind == promScalar || right.kind == promScalar {
		p.require(!set && !matching, "%s takes vectors", operator)
		if left.kind == promScalar {
			left = promValue{kind: right.kind, labels: right.labels, metric: right.metric}
		}
		left.counter = false
		return left
	}
	for _, name := range on {
		p.require(slices.Contains(left.labels, name) && slices.Contains(right.labels, name), "%s is not a label of both sides", name)
	}
	same := slices.Equal(left.labels, right.labels) || matching || operator == "or" && len(right.labels) == 0
	p.require(same, "%s has %q on its left and %q on its right", operator, left.labels, right.labels)
	if matching && !set { // the result is of pairs, not a part of a side
		left.labels = on
	}
	left.metric, left.counter = left.metric || right.metric, false
	return left
}

var promAggregations = []string{"sum", "min", "max", "avg", "count", "topk"}

func (p *promReader) operand() promValue {
	token := p.next()
	switch {
	case token == "-":
		return p.operand()
	case token == "(":
		v := p.binary(0)
		p.expect(")")
		return v
	case token[0] >= '0' && token[0] <= '9':
		p.require(!promSpan.MatchString(token), "%s stands alone", token)
		return promValue{kind: promScalar}
	case !promName.MatchString(token):
		panic(promError(fmt.Sprintf("%q stands where a value should", token)))
	case slices.Contains(promAggregations, token):
		return p.aggregation(token)
	case p.peek() == "(":
		return p.function(token)
	}
	return p.selector(token)
}

// names reads a list of labels in brackets.
func (p *promReader) names() (names []string) {
	p.expect("(")
	for !p.take(")") {
		name := p.next()
		p.require(promName.MatchString(name), "%q is no label", name)
		names = append(names, name)
		if p.peek() != ")" {
			p.expect(",")
		}
	}
	slices.Sort(names)
	return names
}

func (p *promReader) aggregation(name string) promValue {
	var by []string
	if p.take("by") {
		by = p.names()
	}
	p.expect("(")
	if name == "topk" {
		n := p.binary(0)
		p.require(n.kind == promScalar, "topk takes a number first")
		p.expect(",")
	}
	v := p.binary(0)
	p.expect(")")
	p.require(v.kind == promVector, "%s takes a vector", name)
	for _, label := range by {
		p.require(slices.Contains(v.labels, label), "%s by %s, which is not among %q", name, label, v.labels)
	}
	if name == "topk" { // it picks some of what there is, of each group
		return v
	}
	return promValue{kind: promVector, labels: by, metric: v.metric}
}

// promFunctions are what functions take.
var promFunctions = map[string][]string{
	"rate": {promRange}, "increase": {promRange}, "min_over_time": {promRange}, "predict_linear": {promRange, promScalar},
	"histogram_quantile": {promScalar, promVector}, "vector": {promScalar}, "absent": {promVector},
}

func (p *promReader) function(name string) promValue {
	takes, ok := promFunctions[name]
	p.require(ok, "%s is no function that is known here", name)
	p.expect("(")
	var v promValue
	for i, kind := range takes {
		if i > 0 {
			p.expect(",")
		}
		arg := p.binary(0)
		p.require(arg.kind == kind, "%s takes a %s as number %d and gets a %s", name, kind, i+1, arg.kind)
		if arg.metric {
			v = arg
		}
	}
	p.expect(")")
	switch name {
	case "rate", "increase":
		p.require(v.counter, "%s of what can fall", name)
	case "predict_linear", "min_over_time":
		p.require(!v.counter, "%s of what only grows", name)
	case "histogram_quantile":
		at := slices.Index(v.labels, "le")
		p.require(at >= 0, "histogram_quantile without le in %q", v.labels)
		v.labels = slices.Delete(slices.Clone(v.labels), at, at+1)
	case "vector", "absent":
		v.labels = nil
	}
	v.kind, v.counter = promVector, false
	return v
}

func (p *promReader) selector(name string) promValue {
	m, ok := p.known[name]
	p.require(ok, "there is no metric %s", name)
	if p.used != nil {
		p.used[name] = true
	}
	v := promValue{kind: promVector, counter: m.counter, metric: true, labels: slices.Sorted(slices.Values(slices.Concat(m.labels, promTarget)))}
	if p.take("{") {
		p.matchers(name, v.labels)
	}
	if p.take("[") {
		span := p.next()
		p.require(promSpan.MatchString(span), "%q is no time span", span)
		p.expect("]")
		v.kind = promRange
	}
	if p.take("offset") {
		span := p.next()
		p.require(promSpan.MatchString(span), "%q is no time span", span)
	}
	return v
}

func (p *promReader) matchers(name string, labels []string) {
	values := labelValues()
	for !p.take("}") {
		label, operator, value := p.next(), p.next(), p.next()
		p.require(slices.Contains(labels, label), "%s has no label %s", name, label)
		p.require(slices.Contains([]string{"=", "!=", "=~", "!~"}, operator), "%q matches nothing", operator)
		p.require(value[0] == '"', "%s is compared with %s", label, value)
		value = strings.Trim(value, `"`)
		if fixed := values[label]; fixed != nil && !strings.HasPrefix(value, "$") {
			for v := range strings.SplitSeq(value, "|") {
				p.require(slices.Contains(fixed, v), "%s is never %q", label, v)
				p.require(strings.HasSuffix(operator, "~") || !strings.Contains(value, "|"), "%s takes no alternatives", operator)
			}
		} else {
			// A variable of several values becomes a pattern.
			p.require(!strings.HasPrefix(value, "$") || strings.HasSuffix(operator, "~"), "%s has several values: use =~", value)
		}
		if p.peek() != "}" {
			p.expect(",")
		}
	}
}
