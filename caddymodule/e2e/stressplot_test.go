package e2e

import (
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
	"time"
)

// The picture's places. Milliseconds are on a logarithmic scale, from the first to the last tick.
const (
	stressLeft, stressTop     = 60, 92
	stressWidth, stressHeight = 820, 280
	stressFloor, stressRoof   = 0.1, 1000.0 // ms
)

func stressY(ms float64) float64 {
	ms = min(max(ms, stressFloor), stressRoof)
	share := math.Log(ms/stressFloor) / math.Log(stressRoof/stressFloor)
	return math.Round((stressTop+stressHeight*(1-share))*10) / 10
}

// A stressLine is a curve of the picture.
type stressLine struct{ Class, Points string }

type stressTick struct {
	At    float64
	Label string
}

type stressPicture struct {
	Width, Height, Left, Right, Top, Bottom int
	Title                                   string
	Limit                                   float64
	LimitLabel                              string
	Lines                                   []stressLine
	Rows, Columns                           []stressTick
}

// plot draws the latencies over time.
func (r *stressReport) plot(w io.Writer) error {
	x := func(at time.Duration) float64 {
		return math.Round((stressLeft+stressWidth*float64(at)/float64(max(1, r.length)))*10) / 10
	}
	line := func(class string, value func(stressInterval) float64) stressLine {
		var points []string
		for _, v := range r.intervals {
			points = append(points, fmt.Sprintf("%g,%g", x(v.end), stressY(value(v))))
		}
		return stressLine{class, strings.Join(points, " ")}
	}
	p := stressPicture{
		Width: stressLeft + stressWidth + 30, Height: stressTop + stressHeight + 34,
		Left: stressLeft, Right: stressLeft + stressWidth, Top: stressTop, Bottom: stressTop + stressHeight,
		Title: r.head[0], Limit: stressY(float64(stressLimit) / 1e6), LimitLabel: stressLimit.String(),
		Lines: []stressLine{
			line("most", func(v stressInterval) float64 { return v.clicks.max }),
			line("bare", func(v stressInterval) float64 { return v.controls.p99 }),
			line("ours", func(v stressInterval) float64 { return v.clicks.p99 }),
		},
	}
	for _, ms := range []float64{0.1, 1, 10, 100, 1000} {
		p.Rows = append(p.Rows, stressTick{stressY(ms), fmt.Sprintf("%g ms", ms)})
	}
	const columns = 4
	for n := range columns + 1 {
		at := r.length * time.Duration(n) / columns
		p.Columns = append(p.Columns, stressTick{x(at), at.Round(time.Second).String()})
	}
	return stressTemplate.Execute(w, p)
}

var stressTemplate = template.Must(template.New("stress").Parse(`<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {{.Width}} {{.Height}}" width="{{.Width}}" height="{{.Height}}">
<title>Latency of redirects over time</title>
<style>
	text { font: 13px system-ui, sans-serif; fill: #1f2328; }
	.small { font-size: 11px; fill: #59636e; }
	.head { font-weight: 600; }
	.label { text-anchor: end; }
	.middle { text-anchor: middle; }
	.page { fill: #ffffff; }
	.grid { stroke: #d1d9e0; }
	.limit { stroke: #cf222e; stroke-dasharray: 4 3; }
	polyline { fill: none; stroke-width: 1.5; }
	.bare { stroke: #8c959f; }
	.most { stroke: #54aeff; stroke-width: 0.7; }
	.ours { stroke: #0969da; }
	@media (prefers-color-scheme: dark) {
		text { fill: #f0f6fc; }
		.small { fill: #9198a1; }
		.page { fill: #0d1117; }
		.grid { stroke: #3d444d; }
		.limit { stroke: #f85149; }
		.bare { stroke: #656c76; }
		.most { stroke: #1f6feb; }
		.ours { stroke: #4493f8; }
	}
</style>
<rect class="page" width="100%" height="100%"/>
<text class="head" x="20" y="26">Latency of redirects over time, from when each was due (less is better)</text>
<text class="small" x="20" y="46">Thick blue: p99 of clicks in an interval; thin blue: the slowest; grey: p99 of a bare redir; dashed: max_wait and 10 ms.</text>
<text class="small" x="20" y="62">{{.Title}}</text>
{{range .Rows}}<line class="grid" x1="{{$.Left}}" x2="{{$.Right}}" y1="{{.At}}" y2="{{.At}}"/>
<text class="small label" x="{{$.Left}}" dx="-6" y="{{.At}}" dy="4">{{.Label}}</text>
{{end}}{{range .Columns}}<text class="small middle" x="{{.At}}" y="{{$.Bottom}}" dy="18">{{.Label}}</text>
{{end}}<line class="limit" x1="{{.Left}}" x2="{{.Right}}" y1="{{.Limit}}" y2="{{.Limit}}"/>
<text class="small" x="{{.Left}}" dx="4" y="{{.Limit}}" dy="-4">{{.LimitLabel}}</text>
{{range .Lines}}<polyline class="{{.Class}}" points="{{.Points}}"/>
{{end}}</svg>
`))
