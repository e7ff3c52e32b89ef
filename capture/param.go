package capture

import (
	"errors"
	"fmt"
	"net/textproto"
	"regexp"
	"slices"
	"strings"
)

// headerPrefix begins the name of a parameter that is a header.
const headerPrefix = "header:"

// secretHeaders are never kept, so no parameter can be one of them.
var secretHeaders = []string{"Authorization", "Cookie", "Proxy-Authorization", "Set-Cookie"}

// CheckParameter says what is wrong with the name of a parameter, wherever a
// [Route] or a [Kind] takes one. It may be
//
//   - a plain name, of a parameter in the query, in a form or in a JSON body;
//     where the body is JSON, dots walk into it: a.b.c, and a.0 into arrays;
//   - a.*.b, for each element of an array;
//   - a[name=click_id].value, for those elements of the array a whose member
//     name is click_id, and a[kind=refund][status=success].amount for those
//     to which both applies;
//   - x?click_id, for that parameter of the URL which is the value of x; x can
//     be written in any of these ways;
//   - header:X-Topic, for a header of the request.
//
// Case does not matter, but what is written in the same case goes first.
func CheckParameter(name string) error {
	_, err := parseParam(name)
	return err
}

// param is a parameter's name, taken apart.
type param struct {
	text   string // as configured
	header string // the header's canonical name, if it is one
	plain  string // the name as it is sent, if it is a plain one
	path   []step // otherwise
	query  string // the parameter to take from the URL that is the value
}

// step is one step into a JSON document.
type step struct {
	name string // a member or an index, in lower case
	any  bool   // each element of an array instead
	// Of an array's elements, those whose member has this value.
	member, value string
	also          bool // of the element that the step before chose
}

func parseParam(text string) (param, error) {
	p := param{text: text}
	bad := func(why string) (param, error) {
		return param{}, fmt.Errorf("parameter name %q: %s", echo(strings.ToValidUTF8(text, "\uFFFD")), why)
	}
	if text == "" || len(text) > maxParamName || text != strings.TrimSpace(text) || text != strings.ToValidUTF8(text, "") {
		return bad(fmt.Sprintf("allowed are 1 to %d bytes without blanks around them", maxParamName))
	}
	name, query, isURL := cutQuery(text)
	if isURL && (name == "" || query == "") {
		return bad("on both sides of ? there must be a name, like landing_site?click_id")
	}
	p.query = query
	if len(name) >= len(headerPrefix) && strings.EqualFold(name[:len(headerPrefix)], headerPrefix) {
		header := name[len(headerPrefix):]
		if !isToken(header) {
			return bad("after header: there must be a header's name, like header:X-Topic")
		}
		p.header = textproto.CanonicalMIMEHeaderKey(header)
		if slices.Contains(secretHeaders, p.header) {
			return bad("this header holds secrets, which are not kept")
		}
		return p, nil
	}
	steps, err := parseSteps(name)
	if err != nil {
		return bad(err.Error())
	}
	if p.path = steps; steps == nil {
		p.plain = name
	}
	return p, nil
}

// cutQuery cuts x?y in two. A question mark in a selector does not count.
func cutQuery(text string) (name, query string, ok bool) {
	from := strings.LastIndexByte(text, ']') + 1
	name, query, ok = strings.Cut(text[from:], "?")
	return text[:from] + name, query, ok
}

var (
	// pathSegment is a name or * with the selectors behind it.
	pathSegment  = regexp.MustCompile(`^([^.\[\]]*)((?:\[[^\]=]+=[^\]]+\])*)(\.|$)`)
	pathSelector = regexp.MustCompile(`\[([^\]=]+)=([^\]]+)\]`)
	// pathSpecial finds in a name what makes it more than a name. Brackets
	// without = are part of one, as PHP writes them.
	pathSpecial = regexp.MustCompile(`\[[^\]]*=|(?:^|\.)\*(?:$|[.\[])`)
)

// parseSteps takes a path apart that has more in it than names; of one that
// has not, it returns nil.
func parseSteps(name string) ([]step, error) {
	if !pathSpecial.MatchString(name) {
		return nil, nil
	}
	var steps []step
	for rest, more := name, true; more; {
		m := pathSegment.FindStringSubmatch(rest)
		if m == nil || m[1] == "" && (m[2] == "" || len(steps) > 0) {
			return nil, errors.New("write it like a.b.0, like a.*.b or like a[name=click_id].value")
		}
		switch m[1] {
		case "": // the document itself is the array
		case "*":
			steps = append(steps, step{any: true})
		default:
			steps = append(steps, step{name: strings.ToLower(m[1])})
		}
		for i, s := range pathSelector.FindAllStringSubmatch(m[2], -1) {
			steps = append(steps, step{member: strings.ToLower(s[1]), value: s[2], also: i > 0})
		}
		rest, more = rest[len(m[0]):], m[3] != ""
	}
	if len(steps) > maxJSONDepth {
		return nil, fmt.Errorf("at most %d steps are allowed", maxJSONDepth)
	}
	return steps, nil
}

// isToken tells whether s can be a header's name (RFC 9110, 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// urlParam takes a parameter from a value that is a URL or a path with a
// query.
func urlParam(value, name string) string {
	_, query, _ := strings.Cut(value, "?")
	query, _, _ = strings.Cut(query, "#")
	folded := ""
	for pair := range strings.SplitSeq(query, "&") {
		key, v, _ := strings.Cut(pair, "=")
		if len(v) == 0 {
			continue
		}
		if key = unescape(key); key == name {
			if v = strings.TrimSpace(unescapeValue(v)); v != "" {
				return v
			}
		} else if folded == "" && strings.EqualFold(key, name) {
			folded = strings.TrimSpace(unescapeValue(v))
		}
	}
	return folded
}
