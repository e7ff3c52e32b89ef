package capture_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

// sweptInVain is a store whose sweeps fail.
type sweptInVain struct {
	*memstore.Engine
	err error
}

type sweptInVainStore struct {
	capture.Store
	err error
}

func (e *sweptInVain) Open(ctx context.Context) (capture.Store, error) {
	s, err := e.Engine.Open(ctx)
	return &sweptInVainStore{s, e.err}, err
}

func (s *sweptInVainStore) Sweep(context.Context, time.Time, capture.Retention) (capture.SweepResult, error) {
	return capture.SweepResult{}, s.err
}

// A sweep that fails is an error in the log, unless it is because of a full disk or a
// database that is away: who notices that says so already, and not every hour.
func TestSweepFails(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]int{
		capture.ErrNoSpace: 0, capture.ErrUnavailable: 0, capture.ErrDamaged: 3, errors.New("test"): 3,
	} {
		synctest.Test(t, func(t *testing.T) {
			core, logs := observer.New(zapcore.ErrorLevel)
			e := &sweptInVain{memstore.New(), fmt.Errorf("%w: sweeping", err)}
			l, opened := capture.OpenLedger(background, e, &capture.Attachment{Logger: zap.New(core)}, capture.Options{})
			if opened != nil {
				t.Fatal(opened)
			}
			time.Sleep(2*time.Hour + 2*time.Minute)
			if got := logs.Len(); got != want {
				t.Errorf("in two hours there are %d errors of %v in the log, want %d", got, err, want)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
