package network

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// Preset fills in what the route leaves empty. What it says itself stays:
// whoever writes a field, an event or a status word knows better than the
// catalogue. It is called before [capture.Route.Compile].
func (n *Network) Preset(rt *capture.Route) {
	own := rt.Fields
	rt.Fields = maps.Clone(own)
	for f, names := range n.fields() {
		if _, ok := own[f]; ok {
			continue
		}
		if rt.Fields == nil {
			rt.Fields = make(map[capture.Field][]string)
		}
		rt.Fields[f] = names
	}
	n.presetStatuses(rt)
	fixedPayout := rt.Payout.Currency != ""
	ownEvent := rt.Event != ""
	if !ownEvent {
		rt.Event = n.Event
	}
	if rt.Currency == "" && !fixedPayout {
		rt.Currency = attribution.Currency(n.Currency)
	}
	if rt.Unwrap == "" {
		rt.Unwrap = n.Unwrap
	}
	rt.Minor = rt.Minor || n.Minor
	if n.Minor {
		rt.Major = append(slices.Clone(rt.Major), n.shopWrites(own[capture.FieldPayout])...)
	}
	if rt.MaxBody == 0 {
		rt.MaxBody = n.MaxBody
	}
	if rt.Kinds == nil {
		rt.Kinds = n.kinds(own, ownEvent)
	}
}

// fields are the parameters by which a route reads the network. For one with
// macros those that our postback URLs use go with what it sends by itself.
func (n *Network) fields() map[capture.Field][]string {
	fields := make(map[capture.Field][]string, len(n.Fields))
	defaults := capture.DefaultFields()
	for f, names := range n.Fields {
		names = slices.Clone(names)
		if !n.Webhook() {
			for _, d := range defaults[f] {
				if !n.reads(d) {
					names = append(names, d)
				}
			}
		}
		fields[f] = names
	}
	if n.Webhook() {
		return fields
	}
	// A name that means something of its own at this network is not read as
	// what it usually means: tid is a transaction for most, a click for some.
	for f, names := range defaults {
		if _, ok := n.Fields[f]; ok {
			continue
		}
		kept := slices.DeleteFunc(slices.Clone(names), n.reads)
		if len(kept) > 0 && len(kept) < len(names) {
			fields[f] = kept
		}
	}
	return fields
}

// reads tells whether the catalogue gives the parameter a meaning.
func (n *Network) reads(name string) bool {
	for _, names := range n.Fields {
		if slices.ContainsFunc(names, func(s string) bool { return strings.EqualFold(s, name) }) {
			return true
		}
	}
	return false
}

// shopWrites returns those of some parameters that lead into what the shop
// fills in: who writes 12 there means 12, also where the sender's own amounts
// are in cents.
func (n *Network) shopWrites(names []string) (out []string) {
	for _, name := range names {
		members := strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune(".[]?", r) })
		if slices.ContainsFunc(members, func(m string) bool {
			return slices.ContainsFunc(n.Shop, func(s string) bool { return strings.EqualFold(m, s) })
		}) {
			out = append(out, name)
		}
	}
	return out
}

// presetStatuses adds the network's words to those of the route.
func (n *Network) presetStatuses(rt *capture.Route) {
	words, err := statuses(n.Statuses)
	if err != nil {
		panic(err) // decode has read it
	}
	own := rt.Statuses
	rt.Statuses = maps.Clone(own)
	for w, st := range words {
		taken := false
		for mine := range own {
			taken = taken || strings.EqualFold(strings.TrimSpace(mine), w)
		}
		if taken {
			continue
		}
		if rt.Statuses == nil {
			rt.Statuses = make(map[string]attribution.Status)
		}
		rt.Statuses[w] = st
	}
}

// kinds are the network's kinds of messages. The fields that the route names
// itself, and its event, hold for all of them.
func (n *Network) kinds(own map[capture.Field][]string, ownEvent bool) []capture.Kind {
	var kinds []capture.Kind
	for i := range n.Kinds {
		k, err := n.Kinds[i].compile()
		if err != nil {
			panic(err) // decode has read it
		}
		for f := range own {
			delete(k.Fields, f)
		}
		if ownEvent {
			k.Event = ""
		}
		kinds = append(kinds, k)
	}
	return kinds
}

// compile turns a kind of the catalogue into one of a route, with nothing
// shared between the two.
func (k *Kind) compile() (capture.Kind, error) {
	out := capture.Kind{
		Name: k.Name, When: cloneLists(k.When), Unless: cloneLists(k.Unless), Ignore: k.Ignore, Unsigned: k.Unsigned,
		Event: k.Event, Fields: cloneLists(k.Fields), Less: slices.Clone(k.Less), Refund: k.Refund, ByTxID: k.ByTxID,
	}
	if k.Minor != nil {
		minor := *k.Minor
		out.Minor = &minor
	}
	var err error
	if k.Status != "" {
		if out.Status, err = attribution.ParseStatus(k.Status); err != nil {
			return out, fmt.Errorf("kind %q: %w", k.Name, err)
		}
	}
	if out.Statuses, err = statuses(k.Statuses); err != nil {
		return out, fmt.Errorf("kind %q: %w", k.Name, err)
	}
	return out, nil
}

func cloneLists[K comparable](m map[K][]string) map[K][]string {
	m = maps.Clone(m)
	for k, list := range m {
		m[k] = slices.Clone(list)
	}
	return m
}
