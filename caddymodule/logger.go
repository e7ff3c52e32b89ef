package caddymodule

import (
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// currentLogger is the logger of what outlives configurations. It writes to
// the log of the newest configuration that uses it: one that was kept from the
// first configuration would go on writing to a log file that has been moved.
type currentLogger struct {
	core   atomic.Pointer[zapcore.Core]  // never nil
	leader atomic.Pointer[currentLogger] // the one that says what is current instead, if any

	mu    sync.Mutex
	stack []*zap.Logger
}

func newCurrentLogger(first *zap.Logger) *currentLogger {
	l := new(currentLogger)
	l.set(first)
	return l
}

func (l *currentLogger) set(logger *zap.Logger) {
	core := logger.Core()
	l.core.Store(&core)
}

// follow makes l write to whatever is current for another one, which outlives what
// l was made for.
func (l *currentLogger) follow(leader *currentLogger) {
	if l != leader {
		l.leader.Store(leader)
	}
}

// now returns the current core.
func (l *currentLogger) now() zapcore.Core {
	if leader := l.leader.Load(); leader != nil {
		return leader.now()
	}
	return *l.core.Load()
}

// attach makes logger the current one until it is detached.
func (l *currentLogger) attach(logger *zap.Logger) (detach func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stack = append(l.stack, logger)
	l.set(logger)
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if i := slices.Index(l.stack, logger); i >= 0 {
			l.stack = slices.Delete(l.stack, i, i+1)
		}
		// The last one stays: what it logs for may still have to close.
		if n := len(l.stack); n > 0 {
			l.set(l.stack[n-1])
		}
	})
}

// logger returns a logger that writes to whatever is current at the time.
func (l *currentLogger) logger(name string) *zap.Logger {
	return zap.New(&currentCore{from: l}).Named(name)
}

// currentCore passes on to the current core.
type currentCore struct {
	from   *currentLogger
	fields []zapcore.Field
}

func (c *currentCore) now() zapcore.Core {
	core := c.from.now()
	if len(c.fields) == 0 {
		return core
	}
	return core.With(c.fields)
}

func (c *currentCore) Enabled(level zapcore.Level) bool { return c.from.now().Enabled(level) }

func (c *currentCore) With(fields []zapcore.Field) zapcore.Core {
	return &currentCore{from: c.from, fields: append(slices.Clip(c.fields), fields...)}
}

func (c *currentCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return c.now().Check(e, ce)
}

func (c *currentCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	return c.now().Write(e, fields)
}

func (c *currentCore) Sync() error { return c.from.now().Sync() }
