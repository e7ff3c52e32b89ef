package network

import (
	"fmt"
	"slices"
	"strings"
)

// All lists the networks by name. The slice is the caller's.
func All() []*Network { return slices.Clone(catalogue()) }

// Find looks a network up by its name or one of its aliases. Neither case nor
// what stands between words matters: "Impact.com" is impact-com.
func Find(name string) (*Network, error) {
	key := fold(name)
	for _, n := range catalogue() {
		if slices.ContainsFunc(n.names(), func(s string) bool { return fold(s) == key }) {
			return n, nil
		}
	}
	if key == "" {
		return nil, fmt.Errorf("network %q: name one; all are listed by `caddy capture networks`", clip(name))
	}
	if near := nearest(key); len(near) > 0 {
		return nil, fmt.Errorf("unknown network %q: did you mean %s? All are listed by `caddy capture networks`",
			clip(name), strings.Join(near, ", "))
	}
	return nil, fmt.Errorf("unknown network %q: all are listed by `caddy capture networks`; one that is missing "+
		"works without a preset: leave `network` out and name its parameters in `fields`", clip(name))
}

// names are all that the network is found by.
func (n *Network) names() []string { return append([]string{n.Name, n.Title}, n.Aliases...) }

// fold leaves the letters and digits of a name.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		}
		return -1
	}, clip(s))
}

// maxName is longer than any name; what is longer is cut in messages.
const maxName = 64

func clip(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if r := []rune(s); len(r) > maxName {
		return string(r[:maxName]) + "..."
	}
	return s
}

// nearest returns up to three names that were perhaps meant, best first.
func nearest(key string) []string {
	type match struct {
		name string
		cost int
	}
	var found []match
	for _, n := range catalogue() {
		best := -1
		for _, s := range n.names() {
			cost := distance(key, fold(s))
			if strings.Contains(fold(s), key) && len(key) > 2 || strings.Contains(key, fold(s)) && len(fold(s)) > 3 {
				cost = min(cost, 1)
			}
			if cost <= max(1, min(len(key), len(fold(s)))/3) && (best < 0 || cost < best) {
				best = cost
			}
		}
		if best >= 0 {
			found = append(found, match{n.Name, best})
		}
	}
	slices.SortStableFunc(found, func(a, b match) int { return a.cost - b.cost })
	var names []string
	for _, m := range found[:min(3, len(found))] {
		names = append(names, m.name)
	}
	return names
}

// distance is the number of letters to change, add or leave out between two
// short words (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
