package dashboard

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

//go:embed templates
var templateFiles embed.FS

// templates are the pages, each with the frame around it.
var templates = loadTemplates("now", "report", "journal", "click", "conversion", "setup", "problem")

func loadTemplates(names ...string) map[string]*template.Template {
	all := make(map[string]*template.Template, len(names))
	for _, name := range names {
		all[name] = template.Must(template.New("frame.html").Funcs(functions).ParseFS(templateFiles,
			"templates/frame.html", "templates/parts.html", "templates/"+name+".html"))
	}
	return all
}

// functions are what templates call.
var functions = template.FuncMap{
	"asset":      assetName,
	"grouped":    grouped,
	"num":        func(n int64) string { return grouped(strconv.FormatInt(n, 10)) },
	"bytes":      func(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }, //nolint:gosec // not negative
	"span":       spanText,
	"outcome":    outcomeWords,
	"reason":     reasonWords,
	"dimension":  dimensionTitle,
	"join":       strings.Join,
	"iso":        func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"money":      moneyText,
	"days":       daysText,
	"routeQuery": func(route, tz string) string { return query("route", route, "tz", tz).Encode() },
	"entryQuery": func(seq uint64, tz string) string {
		return query("entry", strconv.FormatUint(seq, 10), "tz", tz).Encode()
	},
}

// page is what the frame shows around each page.
type page struct {
	Title string
	// Here is the place of the page in the bar, "" if it has none.
	Here string
	Base string
	TZ   string
	// Zone is the name of the time zone of all times.
	Zone    string
	Now     time.Time
	Health  *capture.Health
	Waiting int64
	Version string
	Body    any
	loc     *time.Location
}

// Path makes the address of one of our pages; the time zone goes along.
func (p *page) Path(path string) string {
	return p.Base + link(path, query("tz", p.TZ))
}

// To makes a relative address good on this page.
func (p *page) To(path string) string { return p.Base + path }

// Time writes a time in the zone of the page.
func (p *page) Time(t time.Time) string { return t.In(p.loc).Format("2006-01-02 15:04:05") }

// Minute is Time without the seconds.
func (p *page) Minute(t time.Time) string { return t.In(p.loc).Format("2006-01-02 15:04") }

// Ago tells how long ago a time is.
func (p *page) Ago(t time.Time) string {
	switch d := p.Now.Sub(t); {
	case d >= time.Second:
		return spanText(d) + " ago"
	case d >= -time.Second:
		return "just now"
	}
	return "in " + spanText(t.Sub(p.Now))
}

// render answers with a page. It is made whole before the first byte is sent.
func (c *call) render(status int, name, title string, body any) error {
	p := &page{Title: title, Here: name, Base: c.base, TZ: c.tz, Zone: c.loc.String(), Now: c.now, Body: body, loc: c.loc}
	if c.h != nil {
		health := c.h.src.Health()
		p.Health = &health
		for _, n := range health.Store.Quarantine {
			p.Waiting += n
		}
		p.Version = c.h.src.Setup().Version
	}
	if j, ok := body.(*journalPage); ok && j.Quarantine {
		p.Here = "quarantine"
	}
	var b bytes.Buffer
	if err := templates[name].Execute(&b, p); err != nil {
		return fmt.Errorf("making the page: %w", err)
	}
	hd := c.w.Header()
	hd.Set("Content-Type", "text/html; charset=utf-8")
	hd.Set("Cache-Control", "no-store")
	hd.Set("Content-Length", strconv.Itoa(b.Len()))
	c.w.WriteHeader(status)
	if c.r.Method == http.MethodHead {
		return nil
	}
	if _, err := c.w.Write(b.Bytes()); err != nil {
		return &sentError{err}
	}
	return nil
}

// spanText writes a time span for people, like "2 d 3 h" or "14 min".
func spanText(d time.Duration) string {
	d = d.Round(time.Second)
	units := []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"min", time.Minute}, {"s", time.Second}}
	for i, u := range units {
		n := d / u.size
		if n == 0 {
			continue
		}
		s := strconv.FormatInt(int64(n), 10) + "\u00a0" + u.name
		if i+1 < len(units) {
			if rest := (d % u.size) / units[i+1].size; rest > 0 && n < 10 {
				s += " " + strconv.FormatInt(int64(rest), 10) + "\u00a0" + units[i+1].name
			}
		}
		return s
	}
	return "0\u00a0s"
}

// daysText writes how long something is kept.
func daysText(d time.Duration) string {
	switch day := 24 * time.Hour; {
	case d <= 0:
		return "for ever"
	case d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + " days"
	}
	return d.String()
}

func moneyText(m attribution.Money) string {
	if m.Currency == "" {
		return grouped(m.Format())
	}
	return grouped(m.Format()) + " " + string(m.Currency)
}
