"""The style sheet of the evaluation report, in light, dark and print.

Colour never carries a meaning alone: a verdict has a sign, and each curve has its own dashes. No
rule breaks a word: long names have places where they may break (`report_html.name`), and a table
that is too wide scrolls in its card.
"""

STYLE = """
:root { color-scheme: light dark; --paper: #fbfbfa; --card: #fff; --ink: #1d2430; --soft: #5d6778;
  --line: #e4e7ec; --mark: #2f6fdb; --rule: #d9480f; --warn: #fff4e0; --warn-ink: #7a4a00;
  --good: #13693d; --good-paper: #e5f6ec; --bad: #a8200d; --bad-paper: #fdebe7;
  --c0: #2f6fdb; --c1: #c2410c; --c2: #15803d; --c3: #9333ea; --c4: #b4880b; --c5: #be185d }
@media (prefers-color-scheme: dark) { :root { --paper: #12151b; --card: #1a1f28; --ink: #e7eaf0;
  --soft: #9aa5b6; --line: #2b323e; --mark: #7aa7ff; --rule: #ff9960; --warn: #33270f;
  --warn-ink: #ffd591; --good: #7fdca6; --good-paper: #12301f; --bad: #ff9d8a;
  --bad-paper: #3b1913; --c0: #7aa7ff; --c1: #ff9960; --c2: #6fd391; --c3: #c79bff; --c4: #e8c35a;
  --c5: #ff8fbd } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 72px }
h1 { font-size: 30px; line-height: 1.2; margin: 4px 0 8px; letter-spacing: -.01em }
h1, h3, .notes, .category { overflow-wrap: break-word } /* where one word is wider than the line */
h2 { font-size: 19px; margin: 44px 0 12px } h3 { font-size: 14px; margin: 0 0 8px }
p { margin: 0 0 12px; max-width: 72ch } .soft { color: var(--soft) }
.over { color: var(--soft); font-size: 12px; letter-spacing: .09em; text-transform: uppercase }
.pair, .tiles, .columns { display: grid; gap: 16px; margin: 0 0 16px; align-items: start }
.pair { grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)) }
.tiles { grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); align-items: stretch }
.columns { grid-template-columns: repeat(auto-fill, minmax(215px, 1fr)) }
.card { min-width: 0; padding: 16px 18px; background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; overflow-x: auto; margin-bottom: 16px }
.pair > .card, .tiles > .card, .columns > .card { margin: 0 }
.verdict { display: flex; gap: 20px; align-items: center; padding: 20px 24px; border-radius: 12px;
  border: 1px solid; margin: 20px 0 16px }
.verdict > svg { width: 52px; height: 52px; flex: none }
.verdict strong { display: block; font-size: 24px; line-height: 1.25 }
.verdict p { margin: 4px 0 0; max-width: none; color: var(--ink) }
.good { color: var(--good) } .bad { color: var(--bad) }
.verdict.good { background: var(--good-paper) } .verdict.bad { background: var(--bad-paper) }
.value { font-size: 28px; font-weight: 650; line-height: 1.3; white-space: nowrap }
.tag { display: inline-block; padding: 0 8px; border-radius: 9px; font-size: 12px;
  white-space: nowrap; background: var(--warn); color: var(--warn-ink) }
table { width: 100%; border-collapse: collapse; font-size: 14px;
  font-variant-numeric: tabular-nums }
th { text-align: left; color: var(--soft); font-weight: 500; vertical-align: bottom }
th, td { padding: 7px 20px 7px 0; border-bottom: 1px solid var(--line) }
td, th[scope=row] { vertical-align: top }
tr > :last-child { padding-right: 0 } tbody tr:last-child > * { border-bottom: 0 }
.n { text-align: right } td.n { white-space: nowrap }
.bar { width: 40%; min-width: 90px }
.compare td:first-child { white-space: nowrap }
.bar i { display: block; height: 10px; margin-top: 6px; min-width: 1px; border-radius: 3px;
  background: var(--mark); opacity: .8 }
.confusion { width: auto } .confusion + p { margin: 10px 0 0 }
tr > td.heat { position: relative; min-width: 48px; padding: 7px 8px; text-align: right }
.heat i { position: absolute; inset: 1px; border-radius: 4px; background: var(--mark) }
.heat span { position: relative }
.confusion th { color: var(--ink) } .confusion .over { color: var(--soft) }
.confusion thead th, .confusion thead th:last-child { padding-right: 8px; text-align: right }
.confusion th[scope=row] { position: sticky; left: 0; z-index: 1; background: var(--card);
  box-shadow: -18px 0 0 var(--card); min-width: 110px; text-align: left }
.many { font-size: 12px } .many tr > td.heat { min-width: 0; padding: 7px 3px }
.many thead th { padding-right: 3px }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 7px 24px; margin: 0;
  font-size: 14px }
dt { color: var(--soft) } dd { margin: 0; min-width: 0 }
code { font: 13px/1.5 ui-monospace, "Cascadia Mono", "DejaVu Sans Mono", monospace }
a { color: var(--mark) }
.notes { margin: 0 0 16px; padding: 12px 18px 12px 34px; border-radius: 10px;
  background: var(--warn); color: var(--warn-ink) }
details { margin: 0 0 16px } summary { cursor: pointer; color: var(--mark); margin: 0 0 12px }
.legend { display: flex; flex-wrap: wrap; gap: 2px 18px; list-style: none; margin: 0 0 6px;
  padding: 0; font-size: 13px }
.legend svg { display: inline-block; width: 26px; height: 8px; margin: 0 6px 0 0 }
svg.plot { display: block; width: 100%; max-width: 560px; height: auto; margin-bottom: 8px }
svg text { fill: var(--soft); font-size: 11px } svg .title { fill: var(--ink); font-size: 12px }
svg .grid { stroke: var(--line) }
svg .rule { stroke: var(--rule); stroke-width: 1.5; stroke-dasharray: 5 4 }
svg circle, svg rect { fill: var(--mark); fill-opacity: .42 } svg rect { fill-opacity: .75 }
svg .far { fill: var(--rule) }
svg .curve { fill: none; stroke-width: 2; stroke-linejoin: round }
svg .other { stroke: var(--soft); stroke-width: 1; opacity: .45 }
svg .c0 { stroke: var(--c0) } svg .c1 { stroke: var(--c1); stroke-dasharray: 7 3 }
svg .c2 { stroke: var(--c2); stroke-dasharray: 2 2 }
svg .c3 { stroke: var(--c3); stroke-dasharray: 9 3 2 3 }
svg .c4 { stroke: var(--c4); stroke-dasharray: 4 4 }
svg .c5 { stroke: var(--c5); stroke-dasharray: 12 4 }
svg circle.c0, svg circle.c1, svg circle.c2, svg circle.c3, svg circle.c4, svg circle.c5 {
  fill: var(--card); fill-opacity: 1; stroke-width: 2; stroke-dasharray: none }
.small { display: block; width: 100%; height: 84px }
.small .train { fill: var(--c0); fill-opacity: .3; stroke: none }
.small .curve { vector-effect: non-scaling-stroke; stroke-width: 1.6 }
.ends { display: flex; justify-content: space-between; gap: 8px; font-size: 12px;
  color: var(--soft); border-top: 1px solid var(--line); padding-top: 2px }
.columns .soft { font-size: 13px; margin-top: 4px }
.category { font-size: 12px; line-height: 1.35; margin: 0 0 5px }
.category svg { display: block; width: 100%; height: 13px }
svg .c0fill { fill: var(--c0); fill-opacity: .45 } svg .c1fill { fill: var(--c1) }
svg .c2fill { fill: var(--c2) }
@media (max-width: 560px) { main { padding: 24px 16px 56px }
  .verdict { padding: 16px; gap: 14px; align-items: flex-start }
  .verdict > svg { width: 38px; height: 38px }
  h1 { font-size: 24px } .card { padding: 14px } th, td { padding-right: 12px }
  .bar { width: 20%; min-width: 70px }
  .compare .bar:empty, .compare thead { display: none }
  .compare td { border: 0; padding: 0 }
  .compare tr { display: grid; grid-template-columns: 1fr auto; gap: 4px 12px; padding: 10px 0;
    border-bottom: 1px solid var(--line) }
  .compare tr:last-child { border: 0 }
  .compare .bar i { margin: 0 } .compare .bar { grid-column: 1 / -1; grid-row: 2; width: auto }
  .compare td:last-child { grid-column: 1 / -1 }
  .columns { grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)); gap: 10px }
  dl { grid-template-columns: 1fr; gap: 0 } dd { margin-bottom: 8px } }
@media print { :root { color-scheme: light; --paper: #fff; --card: #fff; --ink: #000;
  --soft: #444; --line: #ccc; --mark: #2f6fdb; --rule: #d9480f; --good: #13693d; --bad: #a8200d;
  --good-paper: #fff; --bad-paper: #fff; --warn: #fff; --warn-ink: #7a4a00 }
  main { padding: 0; max-width: none } .card, .verdict, tr { break-inside: avoid }
  h2 { break-after: avoid } }
"""
