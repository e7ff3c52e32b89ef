package caddymodule

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

const (
	typeJSONLines = "application/x-ndjson"
	typeCSV       = "text/csv; charset=utf-8"
	typeBinary    = "application/octet-stream"
)

// stallLimit is how long a client may take nothing of a long answer before it
// is cut off: the store cannot close while it is being read.
var stallLimit = time.Minute

// flushEvery is how often lines are sent on that do not fill a packet.
const flushEvery = 200 * time.Millisecond

// longAnswer is an answer that is sent while it is being made. It begins with
// the first write, so that an error before that still gets its own status.
type longAnswer struct {
	r           *http.Request
	w           http.ResponseWriter
	control     *http.ResponseController
	out         *bufio.Writer
	contentType string
	begun       bool
	gone        bool // the client takes no more
	flushed     time.Time
}

func (c *adminCall) long(contentType string) *longAnswer {
	a := &longAnswer{r: c.r, w: c.w, control: http.NewResponseController(c.w), contentType: contentType}
	a.out = bufio.NewWriterSize(sender{a}, 32<<10)
	return a
}

// sender writes to the client, which has to take it in time.
type sender struct{ a *longAnswer }

func (s sender) Write(p []byte) (int, error) {
	s.a.begin()
	_ = s.a.control.SetWriteDeadline(time.Now().Add(stallLimit))
	n, err := s.a.w.Write(p)
	s.a.gone = s.a.gone || err != nil
	return n, err
}

// begin sends the head of the answer.
func (a *longAnswer) begin() {
	if a.begun {
		return
	}
	a.begun = true
	a.w.Header().Set("Content-Type", a.contentType)
	a.w.Header().Set("Cache-Control", "no-store")
	a.w.WriteHeader(http.StatusOK)
}

// Write implements io.Writer.
func (a *longAnswer) Write(p []byte) (int, error) { return a.out.Write(p) }

// line writes v as a line of JSON. It fails if the client has gone.
func (a *longAnswer) line(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, err := a.out.Write(append(data, '\n')); err != nil {
		return err
	}
	if now := time.Now(); now.Sub(a.flushed) >= flushEvery {
		a.flushed = now
		return a.flush()
	}
	return nil
}

func (a *longAnswer) flush() error {
	if err := a.out.Flush(); err != nil {
		return err
	}
	return a.control.Flush()
}

// failedLine ends an answer of JSON lines that could not be completed.
type failedLine struct {
	Error string `json:"error"`
}

// end completes the answer. What has begun and fails is cut short, so that
// nobody takes it for whole; JSON lines say why in the last of them.
func (a *longAnswer) end(err error) error {
	if err != nil && !a.begun {
		return err // nothing was sent, whatever the buffer holds
	}
	if err != nil && a.contentType == typeJSONLines {
		if a.line(failedLine{err.Error()}) == nil {
			err = nil
		}
	}
	a.begin()
	if err == nil {
		err = a.flush()
	}
	_ = a.control.SetWriteDeadline(time.Time{}) // the connection may be used again
	if err != nil {
		// The status is sent, so this is all that can be done.
		level := zap.ErrorLevel
		if a.gone || a.r.Context().Err() != nil {
			level = zap.DebugLevel
		}
		caddy.Log().Named("capture.admin").Log(level, "an answer was cut short", zap.Error(err))
		panic(http.ErrAbortHandler)
	}
	return nil
}

// estimateHeader says about how much is to come, for those who show progress:
// records of an export, bytes of a backup. It is missing where that is not
// known.
const estimateHeader = "Capture-Estimate"

// expect says about how much is to come.
func (a *longAnswer) expect(n int64) {
	if n > 0 && !a.begun {
		a.w.Header().Set(estimateHeader, strconv.FormatInt(n, 10))
	}
}

// headOnly answers a HEAD request, and tells whether it was one.
func (a *longAnswer) headOnly() bool {
	if a.r.Method == http.MethodHead {
		a.begin()
		return true
	}
	return false
}
