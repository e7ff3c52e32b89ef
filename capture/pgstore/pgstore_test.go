package pgstore

import (
	"testing"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
	"github.com/caddy-capture/caddy-capture/capture/storetest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func fresh(t *testing.T) *Engine {
	t.Helper()
	return &Engine{DSN: pgtest.Shared(t).DSN(), Schema: pgtest.Schema(), Dir: t.TempDir(), Logger: zap.NewNop(), patience: patient}
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Fixture {
		e := fresh(t)
		return storetest.Fixture{Engine: e, Crash: func(_ *testing.T, s capture.Store) capture.Engine {
			s.(*Store).crash()
			return e
		}, Finally: func(t *testing.T, s capture.Store) { checkViews(t, s.(*Store)) }}
	})
}

// crash leaves the store as the end of its process would.
func (s *Store) crash() {
	s.shut()
	s.closePools()
	s.home.release()
}
