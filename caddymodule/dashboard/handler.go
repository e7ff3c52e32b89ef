package dashboard

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
)

// policy is the Content-Security-Policy of every answer: our own assets and
// nothing else.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// maxReports is how many reports are made at a time.
const maxReports = 4

// Handler serves the pages. It is safe for concurrent use.
type Handler struct {
	src Source
	// reports has a place for each report that may be made at a time.
	reports chan struct{}
	habits  habits
	todays  todays
	// followers counts the live streams; they end when done is closed.
	followers atomic.Int64
	done      chan struct{}
	closing   sync.Once
}

// New returns the handler of the pages of a source. It reads nothing yet.
func New(src Source) *Handler {
	return &Handler{src: src, reports: make(chan struct{}, maxReports), done: make(chan struct{})}
}

// Close ends the live streams, so that a server that stops need not wait for
// them. The pages go on being served.
func (h *Handler) Close() { h.closing.Do(func() { close(h.done) }) }

// call is one request.
type call struct {
	h   *Handler
	w   http.ResponseWriter
	r   *http.Request
	now time.Time
	// base leads from the page to the root of the dashboard.
	base string
	// tz is the time zone as it stands in addresses, loc what it means.
	tz  string
	loc *time.Location
	// badQuery says that the query cannot even be taken apart.
	badQuery error
}

func (c *call) zone(tz string, loc *time.Location) { c.tz, c.loc = tz, loc }

// ServeHTTP serves the pages below the root of the request's path. Where they
// stand is the server's to choose: all links are relative.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := newCall(w, r)
	c.h, c.now = h, h.src.Now()
	hd := w.Header()
	hd.Set("Cache-Control", "no-store")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		hd.Set("Allow", "GET, HEAD")
		c.fail(&problem{
			http.StatusMethodNotAllowed, "These pages change nothing",
			r.Method + " is not allowed here: use GET or HEAD.",
		})
		return
	}
	if err := h.serve(c); err != nil {
		c.fail(err)
	}
}

// newCall prepares an answer with what every answer carries.
func newCall(w http.ResponseWriter, r *http.Request) *call {
	hd := w.Header()
	hd.Set("Content-Security-Policy", policy)
	hd.Set("X-Content-Type-Options", "nosniff")
	hd.Set("Referrer-Policy", "no-referrer")
	hd.Set("X-Frame-Options", "DENY")
	hd.Set("Cross-Origin-Resource-Policy", "same-origin")
	c := &call{w: w, r: r, loc: time.UTC, base: "./"}
	// As the browser sees it: an escaped slash is none.
	if depth := strings.Count(r.URL.EscapedPath(), "/"); depth > 1 {
		c.base = strings.Repeat("../", depth-1)
	}
	if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
		c.badQuery = badRequest("The query of this address is broken: " + err.Error() + ".")
	}
	return c
}

// serve chooses the page by the path.
func (h *Handler) serve(c *call) error {
	path := c.r.URL.Path
	if name, ok := strings.CutPrefix(path, "/assets/"); ok {
		return serveAsset(c, name)
	}
	if c.badQuery != nil {
		return c.badQuery
	}
	switch path {
	case "", "/":
		return h.nowPage(c)
	case "/report", "/report.csv":
		return h.report(c)
	case "/journal":
		return h.journal(c, false)
	case "/quarantine":
		return h.journal(c, true)
	case "/setup":
		return h.setup(c)
	case "/find":
		return h.find(c)
	case "/live":
		return h.live(c)
	}
	if id, ok := strings.CutPrefix(path, "/clicks/"); ok && !strings.Contains(id, "/") {
		return h.click(c, id)
	}
	if id, ok := strings.CutPrefix(path, "/conversions/"); ok && !strings.Contains(id, "/") {
		return h.conversion(c, id)
	}
	return notFound("There is no such page", "Nothing is served at this address. The pages are in the bar above.")
}

// sentError is an error that came when the answer had begun: nothing can be
// said of it any more.
type sentError struct{ error }

func (e *sentError) Unwrap() error { return e.error }

// fail answers with a page that says what is wrong.
func (c *call) fail(err error) {
	var p *problem
	var sent *sentError
	switch {
	case errors.As(err, &sent):
		return
	case errors.As(err, &p):
	case errors.Is(err, context.Canceled):
		p = &problem{http.StatusServiceUnavailable, "The request was given up", "The browser did not wait for the answer."}
	case errors.Is(err, capture.ErrNotFound):
		p = &problem{http.StatusNotFound, "Nothing is stored under this name", err.Error()}
	case errors.Is(err, capture.ErrUnavailable), errors.Is(err, capture.ErrClosed), errors.Is(err, capture.ErrNoSpace),
		errors.Is(err, capture.ErrLocked), errors.Is(err, capture.ErrFatal):
		p = &problem{http.StatusServiceUnavailable, "The store cannot be read now", err.Error()}
	default:
		p = &problem{http.StatusInternalServerError, "This page could not be made", err.Error()}
	}
	if p.status == http.StatusServiceUnavailable {
		c.w.Header().Set("Retry-After", "10")
	}
	if err := c.render(p.status, "problem", p.title, p); err != nil && !errors.As(err, &sent) {
		http.Error(c.w, p.text, p.status)
	}
}

// unavailable says that there is no store to read.
func unavailable(err error) error {
	return &problem{http.StatusServiceUnavailable, "The store cannot be read now", err.Error()}
}

// redirect leads to another address of ours, which is relative.
func (c *call) redirect(to string) error {
	c.w.Header().Set("Location", c.base+to)
	c.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// find leads to the click or the conversion of an ID.
func (h *Handler) find(c *call) error {
	p := readParams(c.r.URL.Query(), c.now, "id", "tz")
	tz := p.zone()
	if err := p.refusal(); err != nil {
		return err
	}
	c.zone(tz, p.Loc)
	id := strings.ToLower(strings.TrimSpace(p.Get("id")))
	if _, err := h.src.DecodeClick(id); err == nil {
		return c.redirect(link("clicks/"+url.PathEscape(id), query("tz", tz)))
	}
	if conversionID(id) {
		return c.redirect(link("conversions/"+url.PathEscape(id), query("tz", tz)))
	}
	return notFound("No such ID", "What was looked for is neither the ID of a click of ours, whole and unchanged, "+
		"nor that of a conversion.")
}

// Title and Text are what the page of a problem shows.
func (p *problem) Title() string { return p.title }

// Text is the explanation.
func (p *problem) Text() string { return p.text }

// Status is the status of the answer.
func (p *problem) Status() int { return p.status }
