package capture

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// emptyReader is a store that knows one click.
type emptyReader struct{ click *Click }

func (r emptyReader) Click(ref clickid.Ref) (*Click, error) {
	if ref != r.click.Ref {
		return nil, nil
	}
	return r.click, nil
}
func (emptyReader) Any(clickid.Ref) (*Conversion, error) { return nil, nil }
func (emptyReader) Others(clickid.Ref, attribution.Dedup, int) ([]attribution.ConversionID, error) {
	return nil, nil
}
func (emptyReader) ByTxID(TxKey, int) ([]attribution.ConversionID, error)    { return nil, nil }
func (emptyReader) Conversion(attribution.ConversionID) (*Conversion, error) { return nil, nil }
func (emptyReader) Entry(uint64) (*Entry, error)                             { return nil, nil }
func (emptyReader) Repeated(*Entry, int) ([]*Entry, error)                   { return nil, nil }
func (emptyReader) Awaiting(TxKey, int) ([]*Entry, error)                    { return nil, nil }

// TestTrialIsBounded: a trial never forgets, so it ends where it would have to.
func TestTrialIsBounded(t *testing.T) {
	t.Parallel()
	r := emptyReader{&Click{Ref: senderRef, Time: arrivalTime, Campaign: "acme"}}
	try := func(trial *Trial, i int) (*Postback, error) {
		p := &Postback{
			Time: arrivalTime.Add(time.Minute), Rules: &Rules{}, Ref: senderRef, HasRef: true,
			Claim: attribution.Claim{Event: "sale", TxID: fmt.Sprint(i), Status: attribution.Approved},
		}
		return p, Try(r, &Batch{Postbacks: []*Postback{p}}, 1, trial)
	}
	trial := &Trial{max: 100_000}
	n := 0
	for ; ; n++ {
		p, err := try(trial, n)
		if errors.Is(err, ErrTrialTooLarge) {
			break
		}
		if err != nil || p.Result.Outcome != Recorded {
			t.Fatalf("postback %d is %+v: %v", n, p.Result, err)
		}
	}
	if n < 20 || n > 400 {
		t.Errorf("%d postbacks fit into %d bytes", n, trial.max)
	}
	trial.max = 0 // it would fit after all
	for i := range n {
		if p, err := try(trial, i); err != nil || p.Result.Outcome != Duplicate {
			t.Fatalf("postback %d, tried again, is %+v: %v", i, p.Result, err)
		}
	}
}
