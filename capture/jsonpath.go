package capture

import (
	"slices"
	"strings"
)

// pathNode is a place in JSON documents from which parameters with * and
// selectors go on. Together they are a tree, so that what many parameters
// begin with is followed once.
type pathNode struct {
	targets []target
	names   map[string]*pathNode
	any     *pathNode
	selects []*selector
	// also are further selectors of the very element that this node is.
	also []*selector
}

// selector goes on in those elements of an array whose member has a value.
type selector struct {
	member, value string
	next          *pathNode
}

func (n *pathNode) add(path []step, t target) {
	for _, s := range path {
		switch {
		case s.also:
			n = selecting(&n.also, s)
		case s.member != "":
			n = selecting(&n.selects, s)
		case s.any:
			if n.any == nil {
				n.any = new(pathNode)
			}
			n = n.any
		default:
			next := n.names[s.name]
			if next == nil {
				if n.names == nil {
					n.names = make(map[string]*pathNode)
				}
				next = new(pathNode)
				n.names[s.name] = next
			}
			n = next
		}
	}
	n.targets = append(n.targets, t)
}

func selecting(list *[]*selector, wanted step) *pathNode {
	for _, s := range *list {
		if s.member == wanted.member && s.value == wanted.value {
			return s.next
		}
	}
	s := &selector{member: wanted.member, value: wanted.value, next: new(pathNode)}
	*list = append(*list, s)
	return s.next
}

// pathTracker follows a walk through a document in the tree. At any time it
// stands in some places of it at once, and in none at all in most of a
// document.
type pathTracker struct {
	f     *found
	marks []int // where each level's places begin
	at    []place
}

// place is where the tracker stands.
type place struct {
	node *pathNode
	gate *gate // what decides whether values found here count; nil: they do
	// member is the one that opens the gate: the place is it.
	member bool
	opened bool // the gate belongs to this very place
}

// gate holds back what is found in an element of an array until its end, when
// it is known whether the element is the one.
type gate struct {
	*selector
	outer   *gate
	right   bool
	pending []pendingValue
}

type pendingValue struct {
	targets []target
	value   []byte
}

func newPathTracker(f *found) *pathTracker {
	return &pathTracker{f: f, marks: []int{0}, at: []place{{node: f.paths}}}
}

// enter goes to a member or an element of the value at hand.
func (t *pathTracker) enter(key string, element bool) {
	from, to := t.marks[len(t.marks)-1], len(t.at)
	t.marks = append(t.marks, to)
	if from == to {
		return
	}
	key = strings.ToLower(key)
	for i := from; i < to; i++ {
		p := t.at[i]
		if p.member {
			continue // the member is no scalar
		}
		if next := p.node.names[key]; next != nil {
			t.at = append(t.at, place{node: next, gate: p.gate})
		}
		if p.opened && p.gate.member == key {
			t.at = append(t.at, place{gate: p.gate, member: true})
		}
		if !element {
			continue
		}
		if p.node.any != nil {
			t.at = append(t.at, place{node: p.node.any, gate: p.gate})
		}
		for _, s := range p.node.selects {
			t.open(s, p.gate)
		}
	}
}

// open stands in an element that a selector may choose, and each further
// selector of the same element behind the gates of those before it.
func (t *pathTracker) open(s *selector, outer *gate) {
	g := &gate{selector: s, outer: outer}
	t.at = append(t.at, place{node: s.next, gate: g, opened: true})
	for _, also := range s.next.also {
		t.open(also, g)
	}
}

// leaf takes the value of the member or element entered last.
func (t *pathTracker) leaf(value []byte) {
	for _, p := range t.at[t.marks[len(t.marks)-1]:] {
		switch {
		case p.member:
			p.gate.right = p.gate.right || jsonText(value) == p.gate.value
		case p.gate == nil:
			t.put(p.node.targets, value)
		case len(p.node.targets) > 0:
			p.gate.pending = append(p.gate.pending, pendingValue{p.node.targets, value})
		}
	}
}

func (t *pathTracker) put(targets []target, value []byte) {
	if len(targets) == 0 {
		return
	}
	text := strings.TrimSpace(jsonText(value))
	if text == "" {
		return
	}
	for i := range targets {
		t.f.offer(&targets[i], text, fromBody)
	}
}

// leave goes back out.
func (t *pathTracker) leave() {
	last := len(t.marks) - 1
	for _, p := range slices.Backward(t.at[t.marks[last]:]) { // a gate's inner ones go before it
		switch {
		case !p.opened || !p.gate.right:
		case p.gate.outer != nil:
			p.gate.outer.pending = append(p.gate.outer.pending, p.gate.pending...)
		default:
			for _, v := range p.gate.pending {
				t.put(v.targets, v.value)
			}
		}
	}
	t.at = t.at[:t.marks[last]]
	t.marks = t.marks[:last]
}
