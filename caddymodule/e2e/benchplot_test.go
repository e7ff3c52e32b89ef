package e2e

import (
	"fmt"
	"html/template"
	"io"
	"math"
)

// A plotBar is a kind of request in a panel.
type plotBar struct {
	Label, Value, Class string
	Y                   int // of the middle
	Width               float64
}

// A plotPanel has the bars of one setup, and lines at its two yardsticks.
type plotPanel struct {
	Title      string
	X, Y       int
	Height     int
	Bars       []plotBar
	Yardsticks []plotYardstick
}

// A plotYardstick is a dashed line from the yardstick's bar down through those compared with it.
type plotYardstick struct {
	X        float64
	From, To int
	Used     bool
}

const (
	plotLabels = 130 // room for the names
	plotBars   = 250 // length of the longest bar
	plotPanelW = 450
	plotStep   = 20
	plotTop    = 84
)

// plotted is the picture: one panel for each setup, protocols side by side.
func plotted(lines []benchLine) (panels []plotPanel, width, height int) {
	longest := 0.0
	for _, l := range lines {
		longest = max(longest, l.cpu)
	}
	columns := make(map[protocol]int)
	bottom := make(map[int]int)
	for begin := 0; begin < len(lines); {
		setup, end := lines[begin].setup, begin
		for end < len(lines) && lines[end].setup == setup {
			end++
		}
		if _, ok := columns[setup.protocol]; !ok {
			columns[setup.protocol] = len(columns)
		}
		column := columns[setup.protocol]
		p := panel(setup, lines[begin:end], longest)
		p.X, p.Y = 20+column*plotPanelW, max(plotTop, bottom[column])
		bottom[column] = p.Y + p.Height
		panels = append(panels, p)
		height, width = max(height, bottom[column]), max(width, 20+(column+1)*plotPanelW)
		begin = end
	}
	return panels, width, height
}

func panel(setup benchSetup, lines []benchLine, longest float64) plotPanel {
	noun := "connections"
	if setup.connections == 1 {
		noun = "connection"
	}
	p := plotPanel{Title: fmt.Sprintf("%s, %d %s", setup.protocol, setup.connections, noun)}
	scale := plotBars / max(longest, 1)
	at := make(map[string]int) // the yardstick's line
	for i, l := range lines {
		bar := plotBar{
			Label: l.kind, Value: number(l.cpu, 0), Class: "ours",
			Y: 34 + i*plotStep, Width: math.Round(l.cpu*scale*10) / 10,
		}
		if !math.IsNaN(l.cpuRatio) {
			bar.Value += "  (" + number(l.cpuRatio, 2) + ")"
		}
		switch l.kind {
		case kindRedir, kindRespond, kindStamped, kindAgain:
			bar.Class = "bare"
		case kindLogged:
			bar.Class = "log"
		}
		p.Bars = append(p.Bars, bar)
		y, ok := at[l.yardstick]
		if l.yardstick != "" && ok {
			p.Yardsticks[y].To, p.Yardsticks[y].Used = bar.Y+8, true
		}
		at[l.kind] = len(p.Yardsticks)
		p.Yardsticks = append(p.Yardsticks, plotYardstick{X: plotLabels + bar.Width, From: bar.Y - 8})
	}
	p.Height = 34 + len(lines)*plotStep + 20
	return p
}

// plot draws the processor time of a request by kind.
func plot(w io.Writer, subtitle string, lines []benchLine) error {
	panels, width, height := plotted(lines)
	return plotTemplate.Execute(w, struct {
		Width, Height, Labels int
		Subtitle              string
		Panels                []plotPanel
	}{max(width, 720), height + 10, plotLabels, subtitle, panels})
}

var plotTemplate = template.Must(template.New("plot").Parse(`<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {{.Width}} {{.Height}}" width="{{.Width}}" height="{{.Height}}">
<title>Processor time of a request by kind</title>
<style>
	text { font: 13px system-ui, sans-serif; fill: #1f2328; }
	.small { font-size: 11px; fill: #59636e; }
	.head { font-weight: 600; }
	.label { text-anchor: end; }
	.page { fill: #ffffff; }
	.bare { fill: #8c959f; }
	.log { fill: #bf8700; }
	.ours { fill: #0969da; }
	.yardstick { stroke: #59636e; stroke-dasharray: 2 2; }
	@media (prefers-color-scheme: dark) {
		text { fill: #f0f6fc; }
		.small { fill: #9198a1; }
		.page { fill: #0d1117; }
		.bare { fill: #656c76; }
		.log { fill: #d29922; }
		.ours { fill: #4493f8; }
		.yardstick { stroke: #9198a1; }
	}
</style>
<rect class="page" width="100%" height="100%"/>
<text class="head" x="20" y="26">Processor time of the server, in microseconds a request (less is better)</text>
<text class="small" x="20" y="46">In brackets: how often the yardstick's. Grey: Caddy alone; amber: Caddy with its access log; blue: Capture.</text>
<text class="small" x="20" y="62">{{.Subtitle}}</text>
{{range .Panels}}<g transform="translate({{.X}} {{.Y}})">
	<text class="head" x="0" y="14">{{.Title}}</text>
{{range .Bars}}	<text class="label" x="{{$.Labels}}" dx="-8" y="{{.Y}}" dy="4">{{.Label}}</text>
	<rect class="{{.Class}}" x="{{$.Labels}}" y="{{.Y}}" width="{{.Width}}" height="14" transform="translate(0 -7)"/>
	<text class="small" x="{{$.Labels}}" dx="{{.Width}}" y="{{.Y}}" dy="4" transform="translate(6 0)">{{.Value}}</text>
{{end}}{{range .Yardsticks}}{{if .Used}}	<line class="yardstick" x1="{{.X}}" x2="{{.X}}" y1="{{.From}}" y2="{{.To}}"/>
{{end}}{{end}}</g>
{{end}}</svg>
`))
