package badgerstore

import (
	"fmt"
	"strings"

	"go.uber.org/zap"
)

// logger hands Badger's log lines to zap. What Badger calls information is of
// interest only to those who debug it, and to its compactions.
type logger struct {
	*zap.SugaredLogger
	compactions *compactions
}

func newLogger(l *zap.Logger) logger {
	return logger{l.Named("badger").WithOptions(zap.AddCallerSkip(1)).Sugar(), new(compactions)}
}

func line(format string, args []any) string { return strings.TrimSpace(fmt.Sprintf(format, args...)) }

func (l logger) Errorf(format string, args ...any)   { l.Error(line(format, args)) }
func (l logger) Warningf(format string, args ...any) { l.Warn(line(format, args)) }
func (l logger) Infof(format string, args ...any)    { l.debug(format, args) }

func (l logger) Debugf(format string, args ...any) {
	l.debug(format, args)
	l.compactions.built(format, args)
}

// debug does not write lines that nobody reads.
func (l logger) debug(format string, args []any) {
	if l.Desugar().Core().Enabled(zap.DebugLevel) {
		l.Debug(line(format, args))
	}
}
