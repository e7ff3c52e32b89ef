package caddymodule

// platformParameters are the query parameters in which ad platforms and
// networks send their own click IDs, kept without being asked for: an owner
// needs them to report a conversion back. utm_* is kept besides.
var platformParameters = func() map[string]struct{} {
	names := make(map[string]struct{})
	for _, name := range [...]string{
		// Google
		"gclid", "gbraid", "wbraid", "dclid", "gclsrc", "gad_source", "gad_campaignid", "srsltid",
		"fbclid",         // Meta
		"ttclid",         // TikTok
		"msclkid",        // Microsoft
		"twclid",         // X
		"li_fat_id",      // LinkedIn
		"rdt_cid",        // Reddit
		"ScCid", "sccid", // Snapchat
		"epik",                      // Pinterest
		"qclid",                     // Quora
		"yclid", "ymclid", "ysclid", // Yandex
		"rb_clickid",           // VK
		"sznclid",              // Seznam
		"vmcid",                // Yahoo
		"ob_click_id", "dicbo", // Outbrain
		"tblci",                        // Taboola
		"ndclid",                       // Nextdoor
		"aleid",                        // AppLovin
		"ef_id", "s_kwcid", "wickedid", // Adobe, Wicked Reports
		"irclickid", "irgwc", // impact.com
		"cjevent",                        // CJ
		"awc",                            // Awin
		"sscid",                          // ShareASale
		"ranSiteID", "ranMID", "ranEAID", // Rakuten Advertising
		"clickref", "pjid", "tduid", "admitad_uid", // Partnerize, Pepperjam, Tradedoubler, Admitad
		"ps_xid", "ps_partner_key", "gsxid", "gspk", // PartnerStack
		"ef_transaction_id", // Everflow
		"dub_id",            // Dub
		"tid", "vtid",       // ClickBank
	} {
		names[name] = struct{}{}
	}
	return names
}()
