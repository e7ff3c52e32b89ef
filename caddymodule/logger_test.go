package caddymodule

import (
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestCurrentLogger(t *testing.T) {
	t.Parallel()
	newLogger := func(level zap.AtomicLevel) (*zap.Logger, *observer.ObservedLogs) {
		core, logs := observer.New(level)
		return zap.New(core), logs
	}
	a, logsA := newLogger(zap.NewAtomicLevelAt(zap.InfoLevel))
	b, logsB := newLogger(zap.NewAtomicLevelAt(zap.DebugLevel))
	c := newCurrentLogger(a)
	log := c.logger("capture.store").With(zap.String("store", "x"))
	var detachA, detachB func()
	for i, step := range []struct {
		do   func()
		a, b int
	}{
		{do: func() {}, a: 1},
		{do: func() { detachA = c.attach(a) }, a: 1},
		{do: func() { detachB = c.attach(b) }, b: 1},
		{do: func() { detachB(); detachB() }, a: 1}, // a refused reload
		{do: func() { detachB = c.attach(b); detachA() }, b: 1},
		{do: func() { detachB() }, b: 1}, // nobody is left: the last one stays
	} {
		step.do()
		logsA.TakeAll()
		logsB.TakeAll()
		log.Info("hello")
		log.Debug("only for b")
		gotA, gotB := logsA.FilterMessage("hello"), logsB.FilterMessage("hello")
		if gotA.Len() != step.a || gotB.Len() != step.b || logsB.Len() != 2*step.b || logsA.Len() != step.a {
			t.Errorf("step %d: %d lines in a, %d in b", i, logsA.Len(), logsB.Len())
		}
		for _, e := range append(gotA.All(), gotB.All()...) {
			if e.LoggerName != "capture.store" || e.ContextMap()["store"] != "x" {
				t.Errorf("got %+v", e)
			}
		}
	}
	_ = log.Sync()
}

// A logger that follows another one writes where that one does, whatever becomes of
// its own configuration.
func TestLoggerFollows(t *testing.T) {
	t.Parallel()
	coreA, logsA := observer.New(zap.InfoLevel)
	coreB, logsB := observer.New(zap.InfoLevel)
	a, b := zap.New(coreA), zap.New(coreB)
	first, second := newCurrentLogger(a), newCurrentLogger(a)
	log := second.logger("capture.store").With(zap.String("store", "x"))
	log.Info("its own")
	first.follow(first) // which changes nothing
	second.follow(first)
	detach := second.attach(a)
	first.attach(b)
	detach()
	log.Info("another's")
	if logsA.FilterMessage("its own").Len() != 1 || logsA.Len() != 1 || logsB.FilterMessage("another's").Len() != 1 || logsB.Len() != 1 {
		t.Errorf("got %v and %v", logsA.All(), logsB.All())
	}
	if err := log.Sync(); err != nil {
		t.Error(err)
	}
}
