package e2e

import (
	"encoding/json"
	"net/url"
	"strings"
)

// dayNetworks has one route per network, which speaks that network's language.
const dayNetworks = `
	postback /pb/tune {
		fields {
			click_id aff_sub
			txid transaction_id
			payout payout
			currency currency
			event goal_id
		}
		token tune-token
	}
	postback /pb/everflow {
		fields {
			click_id sub1
			txid transaction_id
			payout payout_amount
			currency offer_currency
			event event_name
			status status
		}
		statuses {
			approved approved
			pending pending
			rejected rejected invalid
		}
	}
	postback /pb/cake {
		fields {
			click_id s2
			txid tid
			payout price
		}
		currency USD
		event sale
	}
	postback /pb/affise {
		fields {
			click_id sub1
			txid transactionid
			payout sum
			currency currency
			event goal
			status status
		}
		statuses {
			approved 1
			pending 2 5
			rejected 3
		}
		token affise-token
	}
	postback /pb/awin {
		fields {
			click_id clickref transaction.clickRefs.clickRef
			txid id transaction.id
			payout commission transaction.commission.amount
			currency cur transaction.commission.currency
		}
		event sale
	}
	postback /pb/clickbank {
		fields {
			click_id tid extclid
			txid event_id
			payout affiliate_earnings
			status event_type
		}
		statuses {
			approved PURCHASE UPSELL
			pending ORDER_IMPRESSION
			reversed RFND CGBK
		}
		currency USD
		event order
		token clickbank-token
	}
`

// A network sends postbacks of one shape.
type network struct {
	name  string
	token string // "": the route is open
	macro string // what arrives when the click ID was not filled in
	// The sender's words for statuses; without any it sends none, and all is approved.
	words map[string][]string
	// The sender's parameters for txid, payout, currency, event; "" if it has none.
	clickID, txid, payout, currency, event, status string
	// Where it sends none.
	fixedEvent, fixedCurrency string
	// extra parameters that nobody looks at.
	extra string
}

var networks = []*network{
	{
		name: "tune", token: "tune-token", macro: "{aff_sub}",
		clickID: "aff_sub", txid: "transaction_id", payout: "payout", currency: "currency", event: "goal_id",
		extra: "offer_id=77&ip=203.0.113.9",
	},
	{
		name: "everflow", macro: "{sub1}",
		words:   map[string][]string{"approved": {"approved", "Approved"}, "pending": {"pending"}, "rejected": {"rejected", "invalid"}, "?": {"on_hold"}},
		clickID: "sub1", txid: "transaction_id", payout: "payout_amount", currency: "offer_currency", event: "event_name", status: "status",
	},
	{
		name: "cake", macro: "#s2#",
		clickID: "s2", txid: "tid", payout: "price", fixedEvent: "sale", fixedCurrency: "USD",
		extra: "leadid=ab12&oid=5&campid=9",
	},
	{
		name: "affise", token: "affise-token", macro: "{sub1}",
		words:   map[string][]string{"approved": {"1"}, "pending": {"2", "5"}, "rejected": {"3"}, "?": {"4", "approved%21"}},
		clickID: "sub1", txid: "transactionid", payout: "sum", currency: "currency", event: "goal", status: "status",
	},
	{
		name: "awin", macro: "!!!clickRef!!!",
		clickID: "clickref", txid: "id", payout: "commission", currency: "cur", fixedEvent: "sale",
	},
	{
		name: "awin-json", macro: "!!!clickRef!!!",
		clickID: "clickref", txid: "id", payout: "commission", currency: "cur", fixedEvent: "sale",
	},
	{
		name: "clickbank", token: "clickbank-token", macro: "{tid}",
		words:   map[string][]string{"approved": {"PURCHASE", "UPSELL", "purchase"}, "pending": {"ORDER_IMPRESSION"}, "reversed": {"RFND", "CGBK"}, "?": {"CANCEL"}},
		clickID: "tid", txid: "event_id", payout: "affiliate_earnings", status: "event_type", fixedEvent: "order", fixedCurrency: "USD",
		extra: "traffic_source=mail&vendor=acme",
	},
}

// A sentPostback is what a network says, before it is put into its shape.
type sentPostback struct {
	clickID, txid, payout, currency, event, word, token string
}

// request puts a postback into the network's shape.
func (n *network) request(p sentPostback) (method, target, body string, headers []string) {
	if n.name == "awin-json" {
		return "POST", "/pb/awin", awinJSON(p), []string{jsonBody}
	}
	var pairs []string
	put := func(name, value string) {
		if name != "" && value != "" {
			pairs = append(pairs, name+"="+escape(value))
		}
	}
	put(n.clickID, p.clickID)
	put(n.txid, p.txid)
	put(n.payout, p.payout)
	put(n.currency, p.currency)
	put(n.event, p.event)
	if n.status != "" {
		pairs = append(pairs, n.status+"="+p.word)
	}
	if n.extra != "" {
		pairs = append(pairs, n.extra)
	}
	if n.name == "affise" && p.token != "" {
		headers = append(headers, bearer+p.token)
	} else {
		put("token", p.token)
	}
	return "GET", "/pb/" + n.name + "?" + strings.Join(pairs, "&"), "", headers
}

// escape leaves macros' brackets as they are, as careless templates do.
func escape(value string) string {
	if strings.ContainsAny(value, "{!") {
		return value
	}
	return url.QueryEscape(value)
}

// awinJSON has the amount as a JSON number wherever it is one.
func awinJSON(p sentPostback) string {
	amount := json.RawMessage(p.payout)
	if !decimal.MatchString(p.payout) || strings.HasPrefix(p.payout, "0") && !strings.HasPrefix(p.payout, "0.") {
		amount, _ = json.Marshal(p.payout)
	}
	text, err := json.Marshal(map[string]any{"transaction": map[string]any{
		"id":         p.txid,
		"clickRefs":  map[string]string{"clickRef": p.clickID},
		"commission": map[string]any{"amount": amount, "currency": p.currency},
		"merchant":   map[string]any{"id": 4711, "name": "Café & Söhne"},
	}})
	if err != nil {
		panic(err)
	}
	return string(text)
}
