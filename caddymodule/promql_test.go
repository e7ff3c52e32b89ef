package caddymodule

import (
	"strings"
	"testing"
)

// What the reader is there for it has to notice.
func TestReadQuery(t *testing.T) {
	t.Parallel()
	known := metricLabels(t)
	for query, want := range map[string]string{
		`sum by (kind) (rate(caddy_capture_clicks_total{campaign=~"$campaign"}[5m])) > 0.5`:                               "kind",
		`caddy_capture_quarantine{reason="bad_payout"}`:                                                                   "instance,job,reason",
		`histogram_quantile(0.9, sum by (instance, le) (rate(caddy_capture_commit_duration_seconds_bucket[1h])))`:         "instance",
		`topk(3, sum by (route) (caddy_capture_postbacks_total))`:                                                         "route",
		`sum(caddy_capture_stores) or vector(0)`:                                                                          "",
		`1 - caddy_capture_queue_length / on (instance) caddy_capture_store_bytes offset 1h`:                              "instance",
		`caddy_capture_queue_length > on () sum(caddy_capture_store_bytes)`:                                               "",
		`caddy_capture_quarantine and on (instance) caddy_capture_store_bytes > 9`:                                        "instance,job,reason",
		`caddy_capture_quarantine > bool 1`:                                                                               "instance,job,reason",
		`topk by (instance) (3, caddy_capture_quarantine)`:                                                                "instance,job,reason",
		`predict_linear(caddy_capture_store_room_bytes[12h], 4 * 86400) < 1e9 unless caddy_capture_store_room_bytes > 10`: "instance,job",
	} {
		labels, err := readQuery(query, known, nil)
		if got := strings.Join(labels, ","); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", query, got, err, want)
		}
	}
	for query, want := range map[string]string{
		``:                                     "ends too early",
		`1 + 2`:                                "without a metric",
		`vector(1)`:                            "without a metric",
		`caddy_capture_click_total`:            "there is no metric",
		`caddy_capture_clicks_total[5m`:        "ends too early",
		`caddy_capture_clicks_total[5]`:        "no time span",
		`caddy_capture_clicks_total[5m]`:       "shows a range vector",
		`rate(caddy_capture_clicks_total)`:     "takes a range vector",
		`rate(caddy_capture_queue_length[5m])`: "of what can fall",
		`min_over_time(caddy_capture_clicks_total[5m])`:                  "only grows",
		`rates(caddy_capture_clicks_total[5m])`:                          "no function",
		`sum(rate(caddy_capture_clicks_total[5m])`:                       "ends too early",
		`sum(caddy_capture_stores))`:                                     "is too much",
		`sum by (route) (caddy_capture_clicks_total)`:                    "not among",
		`caddy_capture_clicks_total{kind="seen"}`:                        "never",
		`caddy_capture_clicks_total{kind="bot|late"}`:                    "no alternatives",
		`caddy_capture_clicks_total{route="x"}`:                          "no label route",
		`caddy_capture_clicks_total{campaign="$campaign"}`:               "use =~",
		`caddy_capture_clicks_total{campaign~"x"}`:                       "cannot be read",
		`caddy_capture_clicks_total and caddy_capture_stores`:            "on its right",
		`sum(caddy_capture_stores) / caddy_capture_stores`:               "on its right",
		`sum(caddy_capture_stores) > bool caddy_capture_stores`:          "on its right",
		`caddy_capture_stores + bool 1`:                                  "takes no bool",
		`caddy_capture_stores > on (instance) 1`:                         "takes vectors",
		`caddy_capture_stores or 0`:                                      "takes vectors",
		`caddy_capture_stores / on (kind) caddy_capture_clicks_total`:    "not a label of both",
		`histogram_quantile(0.9, caddy_capture_commit_batch_size_sum)`:   "without le",
		`caddy_capture_stores > > 1`:                                     "where a value should",
		`caddy_capture_commit_batch_size`:                                "there is no metric",
		`topk(caddy_capture_stores, caddy_capture_stores)`:               "a number first",
		`caddy_capture_stores{state="ok" "x"}`:                           "where \",\" should",
		`caddy_capture_clicks_total[5m] + 1`:                             "takes no range",
		`sum by (kind) (increase(caddy_capture_clicks_total[5m])) > 5 5`: "is too much",
	} {
		if labels, err := readQuery(query, known, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v; want %q", query, labels, err, want)
		}
	}
}
