package e2e

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// A kindProfile is where the time of a kind of request goes, over some rounds.
type kindProfile struct {
	kind     string
	cpu      float64 // microseconds of the server's processor time, of all requests
	requests float64
	seen     time.Duration // by the profiles
	parts    map[workPart]time.Duration
}

// add adds a round: what it cost, and the profile that was taken meanwhile.
func (k *kindProfile) add(f benchFigures, stacks []stack) {
	k.cpu += f.cpu * f.requests
	k.requests += f.requests
	if k.parts == nil {
		k.parts = make(map[workPart]time.Duration)
	}
	for _, s := range stacks {
		if p := s.part(); p != partNone {
			k.parts[p] += s.took
			k.seen += s.took
		}
	}
}

// each is the microseconds of a request that go to a part: its share in the profile of what was
// measured without it.
func (k *kindProfile) each(p workPart) float64 {
	return float64(k.parts[p]) / float64(k.seen) * k.all()
}

func (k *kindProfile) all() float64 { return k.cpu / k.requests }

// profileTable has a line for each part, a column for each kind, and the differences to the yardsticks
// for what misses its target by most.
func profileTable(profiles []kindProfile) string {
	of := func(name string) *kindProfile {
		return &profiles[slices.IndexFunc(profiles, func(k kindProfile) bool { return k.kind == name })]
	}
	differences := [][2]*kindProfile{{of(kindClick), of(kindRedir)}, {of(kindPostback), of(kindRespond)}}
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(name string, cells []string) { fmt.Fprintf(w, "%-33s\t%s\t\n", name, strings.Join(cells, "\t")) }
	row := func(name string, decimals int, value, compared func(*kindProfile) float64) {
		var cells []string
		for i := range profiles {
			cells = append(cells, number(value(&profiles[i]), decimals))
		}
		for _, d := range differences {
			if compared != nil {
				cells = append(cells, number(compared(d[0])-compared(d[1]), decimals))
			}
		}
		line(name, cells)
	}
	var names []string
	for _, k := range profiles {
		names = append(names, k.kind)
	}
	for _, d := range differences {
		names = append(names, d[0].kind+" - "+d[1].kind)
	}
	line("", names)
	for _, p := range workParts {
		each := func(k *kindProfile) float64 { return k.each(p) }
		row(string(p), 1, each, each)
	}
	row("all", 1, (*kindProfile).all, (*kindProfile).all)
	row("samples", 0, func(k *kindProfile) float64 { return math.Round(float64(k.seen) / float64(sampleEvery)) }, nil)
	row("% of its time the profile saw", 0, func(k *kindProfile) float64 { return float64(k.seen) / 1e3 / k.cpu * 100 }, nil)
	w.Flush()
	return b.String()
}

// sampleEvery is how much processor time passes between two samples of Go's profiles.
const sampleEvery = 10 * time.Millisecond
