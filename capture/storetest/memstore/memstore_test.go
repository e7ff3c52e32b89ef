package memstore_test

import (
	"testing"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/storetest"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) storetest.Fixture {
		e := memstore.New()
		return storetest.Fixture{Engine: e, Crash: func(*testing.T, capture.Store) capture.Engine {
			e.Crash()
			return e
		}}
	})
}

func TestCopy(t *testing.T) {
	t.Parallel()
	fresh := func(*testing.T) storetest.Fixture { return storetest.Fixture{Engine: memstore.New()} }
	storetest.RunCopy(t, fresh, fresh)
}
