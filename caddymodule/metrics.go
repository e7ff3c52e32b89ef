package caddymodule

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-capture/caddy-capture/capture"
)

// The metrics belong to the process and are registered again with each
// configuration's registry: so they keep their values over reloads.
var (
	clicksTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "caddy_capture_clicks_total",
		Help: "Clicks by campaign and kind: counted, bot, prefetch, test, or lost. One that was redirected before it was on disk " +
			"counts as late besides. Campaigns beyond the first 200 that visitors' paths name are \"other\".",
	}, []string{"campaign", "kind"})

	postbacksTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "caddy_capture_postbacks_total",
		Help: "Postbacks by route, outcome and the outcome's reason.",
	}, []string{"route", "outcome", "reason"})

	commitDuration = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "caddy_capture_commit_duration_seconds",
		Help:    "Time until a batch of clicks and postbacks was on disk.",
		Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16), // to 8 s
	})

	commitBatchSize = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "caddy_capture_commit_batch_size",
		Help:    "Clicks and postbacks that were written together.",
		Buckets: prometheus.ExponentialBuckets(1, 2, 12), // to 2048
	})

	clickToConversion = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "caddy_capture_click_to_conversion_seconds",
		Help: "Time from a click to its newly recorded conversion.",
		Buckets: []float64{
			1, 10, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 86400, 3 * 86400, 7 * 86400, 14 * 86400,
			30 * 86400, 60 * 86400, 90 * 86400,
		},
	})

	eventsDropped = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "caddy_capture_events_dropped_total",
		Help: "Events that no handler was told of, because handlers were too slow or the server stopped.",
	}, []string{"event"})

	ledgerMetrics = ledgerCollector{
		queue: prometheus.NewDesc("caddy_capture_queue_length",
			"Clicks and postbacks that wait to be written.", nil, nil),
		bytes: prometheus.NewDesc("caddy_capture_store_bytes",
			"What the stores of this process take on disk.", nil, nil),
		quarantine: prometheus.NewDesc("caddy_capture_quarantine",
			"Postbacks that wait in quarantine, by reason.", []string{"reason"}, nil),
		stores: prometheus.NewDesc("caddy_capture_stores",
			"Stores of this process by state: ok, degraded (nothing is written now and it will go on by itself, or somebody has "+
				"to see to something) or stopped "+
				"(a restart is needed).", []string{"state"}, nil),
		room: prometheus.NewDesc("caddy_capture_store_room_bytes",
			"What the disk can still take before a store stops writing; of several stores, the least.", nil, nil),
		spools: prometheus.NewDesc("caddy_capture_spools",
			"Spools of shared stores by state: shared (all goes to the database), spooling (it cannot be reached, all goes to the disk "+
				"of this machine) or draining (it is back, and what waits is sent).", []string{"state"}, nil),
		spooled: prometheus.NewDesc("caddy_capture_spool_length",
			"Clicks and postbacks that wait on the disk of this machine for a shared store.", []string{"kind"}, nil),
		spoolBytes: prometheus.NewDesc("caddy_capture_spool_bytes",
			"What waits on the disk of this machine for a shared store, in bytes.", nil, nil),
		spoolAge: prometheus.NewDesc("caddy_capture_spool_age_seconds",
			"How long the oldest of what waits for a shared store has done so; 0 if nothing waits.", nil, nil),
		refused: prometheus.NewDesc("caddy_capture_spool_refused",
			"Clicks and postbacks that a shared store refuses, and that are set aside on the disk of this machine.", []string{"kind"}, nil),
	}
)

// registerMetrics makes the metrics part of a configuration's registry.
func registerMetrics(reg *prometheus.Registry) error {
	if reg == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{
		clicksTotal, postbacksTotal, commitDuration, commitBatchSize, clickToConversion, eventsDropped, ledgerMetrics,
	} {
		var already prometheus.AlreadyRegisteredError
		if err := reg.Register(c); err != nil && !errors.As(err, &already) {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}

// ledgerCollector reads the open ledgers when it is asked; several stores in
// one process are summed.
type ledgerCollector struct {
	queue, bytes, quarantine, stores, room *prometheus.Desc

	spools, spooled, spoolBytes, spoolAge, refused *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c ledgerCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.queue
	ch <- c.bytes
	ch <- c.quarantine
	ch <- c.stores
	ch <- c.room
	ch <- c.spools
	ch <- c.spooled
	ch <- c.spoolBytes
	ch <- c.spoolAge
	ch <- c.refused
}

// Collect implements prometheus.Collector.
func (c ledgerCollector) Collect(ch chan<- prometheus.Metric) {
	var queued int
	var bytes int64
	waiting := make(map[capture.Reason]int64)
	states := make(map[string]int)
	room := int64(-1)
	var spools []*capture.SpoolStatus
	for _, l := range openLedgers() {
		h := l.Health()
		queued += h.QueuedClicks + h.QueuedPostbacks
		bytes += h.Store.Bytes
		states[h.State]++
		// A store that is not open, or not on a disk, does not know.
		if left := max(0, h.Store.Free-h.Store.Reserve); h.Store.Reserve > 0 && (room < 0 || left < room) {
			room = left
		}
		if h.Store.Spool != nil {
			spools = append(spools, h.Store.Spool)
		}
		for reason, n := range h.Store.Quarantine {
			waiting[reason] += n
		}
	}
	ch <- prometheus.MustNewConstMetric(c.queue, prometheus.GaugeValue, float64(queued))
	ch <- prometheus.MustNewConstMetric(c.bytes, prometheus.GaugeValue, float64(bytes))
	for _, reason := range capture.QuarantineReasons {
		ch <- prometheus.MustNewConstMetric(c.quarantine, prometheus.GaugeValue,
			float64(waiting[reason]), string(reason))
	}
	for _, state := range []string{"ok", "degraded", "stopped"} {
		ch <- prometheus.MustNewConstMetric(c.stores, prometheus.GaugeValue, float64(states[state]), state)
	}
	if room >= 0 {
		ch <- prometheus.MustNewConstMetric(c.room, prometheus.GaugeValue, float64(room))
	}
	c.collectSpools(ch, spools)
}

// collectSpools says nothing where no store is shared.
func (c ledgerCollector) collectSpools(ch chan<- prometheus.Metric, spools []*capture.SpoolStatus) {
	if len(spools) == 0 {
		return
	}
	states := make(map[capture.SpoolState]int)
	var clicks, postbacks, refusedClicks, refusedPostbacks int
	var bytes int64
	var age time.Duration
	for _, s := range spools {
		states[s.State]++
		clicks, postbacks, bytes = clicks+s.Clicks, postbacks+s.Postbacks, bytes+s.Bytes
		refusedClicks, refusedPostbacks = refusedClicks+s.RefusedClicks, refusedPostbacks+s.RefusedPostbacks
		if !s.Oldest.IsZero() {
			age = max(age, time.Since(s.Oldest))
		}
	}
	for _, state := range []capture.SpoolState{capture.SpoolShared, capture.SpoolSpooling, capture.SpoolDraining} {
		ch <- prometheus.MustNewConstMetric(c.spools, prometheus.GaugeValue, float64(states[state]), string(state))
	}
	ch <- prometheus.MustNewConstMetric(c.spooled, prometheus.GaugeValue, float64(clicks), "clicks")
	ch <- prometheus.MustNewConstMetric(c.spooled, prometheus.GaugeValue, float64(postbacks), "postbacks")
	ch <- prometheus.MustNewConstMetric(c.spoolBytes, prometheus.GaugeValue, float64(bytes))
	ch <- prometheus.MustNewConstMetric(c.spoolAge, prometheus.GaugeValue, age.Seconds())
	ch <- prometheus.MustNewConstMetric(c.refused, prometheus.GaugeValue, float64(refusedClicks), "clicks")
	ch <- prometheus.MustNewConstMetric(c.refused, prometheus.GaugeValue, float64(refusedPostbacks), "postbacks")
}

// observeCommit notes one batch that is on disk.
func observeCommit(requests int, took time.Duration) {
	commitDuration.Observe(took.Seconds())
	commitBatchSize.Observe(float64(requests))
}

// observeLag notes the time from a click to its conversion.
func observeLag(d time.Duration) { clickToConversion.Observe(d.Seconds()) }

type (
	clickLabels    struct{ campaign, kind string }
	postbackLabels struct{ route, outcome, reason string }
)

var (
	clickCounters = counterCache[clickLabels]{
		new: func(l clickLabels) (prometheus.Counter, error) {
			return clicksTotal.GetMetricWithLabelValues(l.campaign, l.kind)
		},
	}
	postbackCounters = counterCache[postbackLabels]{
		new: func(l postbackLabels) (prometheus.Counter, error) {
			return postbacksTotal.GetMetricWithLabelValues(l.route, l.outcome, l.reason)
		},
	}
	campaignLabels = labelSet{limit: maxCampaignLabels}
)

// countClick counts one click. Kinds come from a fixed list; the campaign may
// be anything.
func countClick(campaign, kind string) {
	if len(campaign) > maxLabelLength {
		campaign = otherLabel
	}
	if c := clickCounters.known(clickLabels{campaign, kind}); c != nil {
		c.Inc()
		return
	}
	clickCounters.get(clickLabels{campaignLabels.admit(campaign), kind}).Inc()
}

// countPostback counts one postback. All three come from the configuration or
// from fixed lists.
func countPostback(route, outcome, reason string) {
	postbackCounters.get(postbackLabels{route, outcome, reason}).Inc()
}

// counterCache finds counters by their labels without a lock; the number of
// label sets is bounded by its users.
type counterCache[L comparable] struct {
	new func(L) (prometheus.Counter, error)

	byLabels atomic.Pointer[map[L]prometheus.Counter]
	mu       sync.Mutex // of writers
}

func (c *counterCache[L]) known(labels L) prometheus.Counter {
	m := c.byLabels.Load()
	if m == nil {
		return nil
	}
	return (*m)[labels]
}

func (c *counterCache[L]) get(labels L) prometheus.Counter {
	if n := c.known(labels); n != nil {
		return n
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.known(labels); n != nil {
		return n
	}
	n, err := c.new(labels)
	if err != nil { // a label that is not UTF-8
		return uncounted
	}
	m := make(map[L]prometheus.Counter)
	if old := c.byLabels.Load(); old != nil {
		maps.Copy(m, *old)
	}
	m[labels] = n
	c.byLabels.Store(&m)
	return n
}

// uncounted takes what cannot be counted.
var uncounted = prometheus.NewCounter(prometheus.CounterOpts{Name: "uncounted", Help: "In no registry."})

// Campaign names can come from the path of a request, so anybody can make them
// up: the metrics tell apart only so many, and none that is very long.
const (
	maxCampaignLabels = 200
	maxLabelLength    = 128
	otherLabel        = "other"
)

// labelSet lets a bounded number of values be labels.
type labelSet struct {
	limit int

	mu     sync.Mutex
	named  map[string]struct{} // by a configuration: always admitted
	others map[string]struct{}
}

// admit returns the label for a value: itself or "other".
func (s *labelSet) admit(v string) string {
	if len(v) > maxLabelLength || !utf8.ValidString(v) {
		return otherLabel
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.named[v]; ok {
		return v
	}
	if _, ok := s.others[v]; ok {
		return v
	}
	if len(s.others) >= s.limit {
		return otherLabel
	}
	if s.others == nil {
		s.others = make(map[string]struct{})
	}
	s.others[v] = struct{}{}
	return v
}

// name admits a value that a configuration names, whatever strangers have
// used up.
func (s *labelSet) name(v string) {
	if len(v) > maxLabelLength || !utf8.ValidString(v) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.named == nil {
		s.named = make(map[string]struct{})
	}
	s.named[v] = struct{}{}
}
