package capture

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// evaluate goes down a path in a decoded document, which is the obvious way
// and the slow one.
func evaluate(v any, path []step) (values []string) {
	if len(path) == 0 {
		if s, ok := v.(string); ok && s != "" {
			values = append(values, s)
		}
		return values
	}
	s, rest := path[0], path[1:]
	switch v := v.(type) {
	case map[string]any:
		if s.member == "" && !s.any {
			if child, ok := v[s.name]; ok {
				values = evaluate(child, rest)
			}
		}
		if s.also && v[s.member] == any(s.value) {
			values = evaluate(v, rest)
		}
	case []any:
		for i, child := range v {
			object, _ := child.(map[string]any)
			if s.any || s.name == strconv.Itoa(i) || s.member != "" && !s.also && object[s.member] == any(s.value) {
				values = append(values, evaluate(child, rest)...)
			}
		}
	}
	return values
}

// document draws a value with arrays of objects in it, whose members are few.
func document(r *rand.Rand, depth int) any {
	switch n := r.IntN(6); {
	case depth == 0 || n == 0:
		return []any{"1", "2", "x", "", nil}[r.IntN(5)]
	case n < 4:
		array := make([]any, r.IntN(4))
		for i := range array {
			array[i] = document(r, depth-1)
		}
		return array
	}
	return map[string]any{"a": document(r, depth-1), "b": document(r, depth-1), "k": []any{"1", "2"}[r.IntN(2)]}
}

// pathInto draws a path that leads somewhere in the document, if it is right
// about the members of arrays' elements.
func pathInto(r *rand.Rand, v any) string {
	var path strings.Builder
	for {
		switch c := v.(type) {
		case map[string]any:
			key := []string{"a", "b", "k"}[r.IntN(3)]
			path.WriteString("." + key)
			v = c[key]
		case []any:
			if len(c) == 0 {
				return path.String()[1:]
			}
			i := r.IntN(len(c))
			path.WriteString([]string{"." + strconv.Itoa(i), ".*", ".*", "[k=1]", "[k=2]", "[a=x]"}[r.IntN(6)])
			v = c[i]
		default:
			return path.String()[1:]
		}
	}
}

// Whatever the document and the paths, one walk finds what evaluating each
// path by itself does.
func TestPathsMatchEvaluation(t *testing.T) {
	t.Parallel()
	segments := []string{"a", "b", "k", "1", "*", "a.*", "b.*", "a[k=1]", "b[k=2]", "*[a=1]", "a[k=1][b=x]", "a[b=x][k=1]", "a[k=1].a[k=2]"}
	r := rand.New(rand.NewPCG(7, 7))
	found := 0
	for range 3000 {
		doc := map[string]any{"a": document(r, 5), "b": document(r, 4)}
		text, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		var m matcher
		for range 12 {
			path := make([]string, 1+r.IntN(4))
			for i := range path {
				path[i] = segments[r.IntN(len(segments))]
			}
			for _, text := range []string{strings.Join(path, "."), pathInto(r, doc)} {
				if _, err := m.add(text); err != nil {
					t.Fatal(err)
				}
			}
		}
		f := m.found()
		all := make([]int, len(m.params))
		for i := range all {
			all[i] = i
		}
		f.wantAll(all)
		if err := f.collectJSON(text); err != nil {
			t.Fatal(err)
		}
		for i, p := range m.params {
			if p.path == nil {
				continue
			}
			want := evaluate(doc, p.path)
			found += len(want)
			if got := f.all[i]; !slices.Equal(got, want) || len(want) > 0 && f.values[i].value != want[0] {
				t.Fatalf("%s in %s: got %q, want %q", p.text, text, got, want)
			}
		}
		f.free()
	}
	if found < 1000 {
		t.Errorf("the paths found only %d values", found)
	}
}

// Each number of kinds makes a document cost the same: what they share is
// looked up once.
func TestKindsShareParameters(t *testing.T) {
	t.Parallel()
	var rt Route
	for i := range 100 {
		rt.Kinds = append(rt.Kinds, Kind{
			Name: fmt.Sprint(i), When: map[string][]string{"type": {fmt.Sprint(i)}}, Less: []string{"refunds.*.amount"},
			Fields: map[Field][]string{FieldTxID: {"data.id"}, FieldEvent: {"lines.*.name"}},
		})
	}
	many, one := compiled(t, rt), compiled(t, Route{Kinds: rt.Kinds[:1]})
	if got, want := len(many.match.params), len(one.match.params); got != want {
		t.Errorf("100 kinds look for %d parameters, one looks for %d", got, want)
	}
	for _, name := range []string{"type", "data.id"} {
		if n := len(many.match.targets(name)); n != 1 {
			t.Errorf("%s is looked for %d times", name, n)
		}
	}
}
