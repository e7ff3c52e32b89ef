package capture

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddy-capture/caddy-capture/attribution"
)

// Kind is one kind of message of a sender that sends several kinds to one
// address, such as orders and refunds. What it leaves empty is as the route
// has it.
type Kind struct {
	// Name is what messages to people call it.
	Name string
	// When are the conditions, all of which must hold: a parameter and the
	// values of which it must have one, in any case of letters. "*" is any
	// value that is not empty, and "" is none at all.
	When map[string][]string
	// Unless is the opposite: the kind does not fit if one of these holds.
	Unless map[string][]string
	// Ignore, if not empty, says why nothing is to be booked.
	Ignore string
	// Unsigned says that the sender does not sign such messages. They are
	// answered although they are not authentic, and leave nothing on disk; so
	// it goes only with Ignore. Its conditions can only be headers and plain
	// parameters of query and form; one of them must be the signature's
	// header having the value "".
	Unsigned bool

	// Event is the event, whatever the sender's is; the route's own goes
	// first.
	Event string
	// Status is the status, whatever the sender's is.
	Status attribution.Status
	// Fields replace the route's parameters for the fields that they name.
	Fields map[Field][]string
	// Statuses are words of the sender beyond the route's.
	Statuses map[string]attribution.Status
	// Minor, if set, replaces the route's.
	Minor *bool
	// Less are parameters with amounts that are taken off the payout, such as
	// what of a sale was paid back so far. Their signs do not matter. A sale
	// of which nothing is left is reversed.
	Less []string
	// Refund says that the payout is one refund, to be taken off the
	// conversion that the txid names. The message ID names the refund. Where
	// the payout's parameter has several values, as transactions.*.amount
	// can, the refund is their sum.
	Refund bool
	// ByTxID says that such messages carry no click ID: the click is that of
	// the conversion of this route with the same txid.
	ByTxID bool
}

// kind is a Kind prepared for serving.
type kind struct {
	*Kind
	when, unless []condition
	fields       fieldParams // nil where the route's hold
	statuses     map[string]attribution.Status
	less         []int
	minor        bool
}

// condition is that a parameter has one of some values.
type condition struct {
	param  int
	values []string
}

func (c *condition) holds(f *found) bool {
	v := f.values[c.param].value
	return slices.ContainsFunc(c.values, func(want string) bool {
		return want == anyValue && v != "" || strings.EqualFold(v, want)
	})
}

// anyValue stands for any value in a condition.
const anyValue = "*"

func (k *kind) fits(f *found) bool {
	for i := range k.when {
		if !k.when[i].holds(f) {
			return false
		}
	}
	return !slices.ContainsFunc(k.unless, func(c condition) bool { return c.holds(f) })
}

func (rt *Route) compileKinds() error {
	rt.kinds, rt.byTxID = nil, false
	for i := range rt.Kinds {
		k, err := rt.compileKind(&rt.Kinds[i])
		if err != nil {
			return fmt.Errorf("kind %q: %w", echo(rt.Kinds[i].Name), err)
		}
		rt.kinds, rt.byTxID = append(rt.kinds, k), rt.byTxID || k.ByTxID
	}
	return nil
}

func (rt *Route) compileKind(from *Kind) (k kind, err error) {
	k = kind{Kind: from, minor: rt.Minor}
	if from.Minor != nil {
		k.minor = *from.Minor
	}
	if k.when, err = rt.conditions("when", from.When); err != nil {
		return k, err
	}
	if k.unless, err = rt.conditions("unless", from.Unless); err != nil {
		return k, err
	}
	if k.fields, err = rt.fieldParams(from.Fields, from.Fields); err != nil {
		return k, err
	}
	own, err := foldStatuses(from.Statuses)
	if err != nil {
		return k, err
	}
	k.statuses = maps.Clone(rt.statuses)
	maps.Copy(k.statuses, own)
	for _, name := range from.Less {
		n, err := rt.param(name)
		if err != nil {
			return k, fmt.Errorf("less: %w", err)
		}
		k.less = append(k.less, n)
	}
	rt.all = append(rt.all, k.less...)
	rt.all = append(rt.all, rt.match.several(k.fields[slotClickID])...)
	if k.Refund {
		rt.all = append(rt.all, k.fieldOf(rt, slotPayout)...)
	}
	return k, errors.Join(checkEvent(from.Event), rt.checkKind(&k))
}

// checkKind refuses what does not go together.
func (rt *Route) checkKind(k *kind) error {
	switch {
	case k.Status > attribution.Reversed:
		return fmt.Errorf("status is number %d: allowed are approved, pending, rejected and reversed", uint8(k.Status))
	case k.Ignore != "" && (k.Refund || k.ByTxID || len(k.Less) > 0):
		return errors.New("what is ignored cannot be a refund, go by its txid or have amounts taken off")
	case k.Refund && len(k.Less) > 0:
		return errors.New("a refund is itself what is taken off: it takes no less")
	case k.Refund && len(k.fieldOf(rt, slotMessageID)) == 0:
		return errors.New("a refund needs the field message_id, to know it again when it is sent twice")
	case k.Unsigned && k.Ignore == "":
		return errors.New("an unsigned message is not authentic: it can only be ignored, so say why in ignore")
	case k.Unsigned:
		return rt.checkUnsigned(k)
	}
	return nil
}

// checkUnsigned makes sure that the conditions cost next to nothing to ask,
// and that what bears a signature, be it a wrong one, is not taken for it.
func (rt *Route) checkUnsigned(k *kind) error {
	for _, c := range slices.Concat(k.when, k.unless) {
		if p := &rt.match.params[c.param]; p.path != nil || p.query != "" {
			return fmt.Errorf("parameter %q: an unsigned message is told by headers and plain parameters only", p.text)
		}
	}
	if !slices.ContainsFunc(k.when, func(c condition) bool {
		return rt.match.params[c.param].header != "" && slices.Equal(c.values, []string{""})
	}) {
		return errors.New(`an unsigned message is told by its signature's header being empty: add that header to when, with the value ""`)
	}
	return nil
}

// conditions come in the order of their names, so that messages about them
// are always the same.
func (rt *Route) conditions(what string, wanted map[string][]string) ([]condition, error) {
	var out []condition
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		n, err := rt.param(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		if len(wanted[name]) == 0 {
			return nil, fmt.Errorf(`%s: parameter %q has no value: name at least one, "*" for any or "" for none`, what, name)
		}
		out = append(out, condition{param: n, values: wanted[name]})
	}
	return out, nil
}

// fieldOf returns the parameters of a field for messages of this kind; k may
// be nil.
func (k *kind) fieldOf(rt *Route, s slot) []int {
	if k != nil && k.fields[s] != nil {
		return k.fields[s]
	}
	return rt.fields[s]
}

// minorOf tells whether the payout that was found is in minor units; f may be
// nil if the message has no parameters.
func (k *kind) minorOf(rt *Route, f *found) bool {
	minor := rt.Minor
	if k != nil {
		minor = k.minor
	}
	return minor && (len(rt.major) == 0 || f == nil || !slices.Contains(rt.major, f.chosen(k.fieldOf(rt, slotPayout))))
}

// kindOf returns the kind of message at hand: nil if the route tells none
// apart or if it is none of them, which ok tells.
func (rt *Route) kindOf(f *found) (k *kind, ok bool) {
	for i := range rt.kinds {
		if rt.kinds[i].fits(f) {
			return &rt.kinds[i], true
		}
	}
	return nil, len(rt.kinds) == 0
}

// maxUnknown bounds how many values the message about an unknown kind shows.
const maxUnknown = 3

// unknownKind says by what a message that fits no kind was not recognised.
func (rt *Route) unknownKind(f *found) string {
	var seen, names []string
	asked := make(map[int]bool)
	for i := range rt.kinds {
		for _, c := range rt.kinds[i].when {
			if asked[c.param] {
				continue
			}
			asked[c.param] = true
			name := rt.match.params[c.param].text
			if len(names) < maxUnknown {
				names = append(names, echo(name))
			}
			if v := f.values[c.param].value; v != "" && len(seen) < maxUnknown {
				seen = append(seen, fmt.Sprintf("%s is %q", echo(name), echo(v)))
			}
		}
	}
	if len(seen) == 0 {
		return "this route does not know such a message: it has none of the parameters " + strings.Join(names, ", ") +
			" by which it would be told"
	}
	return strings.Join(seen, " and ") + ", which this route does not know"
}
