-- The parts of a chapter that get a number, a title or a frame: headings, figures, tables,
-- equations, callouts. `reader.lua` applies them.

local words = { fig = 'Figure', tbl = 'Table', eq = 'Equation', sec = 'Section' }
local callouts = pandoc.List { 'note', 'tip', 'warning', 'caution', 'important' }
local targets = {}  -- label → its word and its number
local problems = pandoc.List {}

local function report(chapter, text) problems:insert(chapter.path .. ': ' .. text) end

local function kind_of(id) return words[id:match '^(%l+)%-' or ''] and id:match '^%l+' end

local function raw(html) return pandoc.RawBlock('html', html) end

local function register(chapter, id, word, number)
  if targets[id] then report(chapter, 'label ' .. id .. ' is used twice; rename one') end
  targets[id] = { word = word, number = number }
end

-- The next number of a kind within the chapter: "6.1", or "1" outside the numbered chapters.
local function count(chapter, kind)
  chapter.counts[kind] = (chapter.counts[kind] or 0) + 1
  return (chapter.number and chapter.number .. '.' or '') .. chapter.counts[kind]
end

local function number_span(text) return pandoc.Span(text, { class = 'number' }) end

-- A numbered figure or table: the same <figure>, told apart by its class.
local function numbered(chapter, id, content, text)
  local kind = kind_of(id)
  local number = count(chapter, kind)
  register(chapter, id, words[kind], number)
  local has_text = text and #text > 0
  local name = words[kind] .. '\u{a0}' .. number .. (has_text and ':' or '')
  local caption = pandoc.Inlines { number_span(name) }
  if has_text then caption = caption .. { pandoc.Space() } .. text end
  local attributes = { id = id, class = 'numbered ' .. kind }
  return pandoc.Figure(content, { long = { pandoc.Plain(caption) } }, attributes)
end

local function is_picture(block)
  return (block.t == 'Para' or block.t == 'Plain') and #block.content == 1
    and block.content[1].t == 'Image'
end

-- Takes the last paragraph off a div and returns it as the caption.
local function take_caption(blocks)
  local last = blocks[#blocks]
  if last and last.t == 'Para' and not is_picture(last) then return blocks:remove().content end
end

-- The images in a numbered group are "(a)", "(b)", …; their references name the group too.
local function letter_parts(chapter, blocks, number)
  local letter = 96
  return blocks:walk { Figure = function(figure)
    if kind_of(figure.identifier) ~= 'fig' then return nil end
    letter = letter + 1
    local mark = '(' .. string.char(letter) .. ')'
    register(chapter, figure.identifier, 'Figure', number .. ' ' .. mark)
    local old = figure.caption.long[1]
    local caption = pandoc.Inlines { number_span(mark), pandoc.Space() }
    caption:extend(old and old.content or {})
    figure.caption.long = { pandoc.Plain(caption) }
    figure.classes:insert 'part'
    return figure
  end }
end

local function layout(div)
  local columns = div.attributes['layout-ncol']
  if not columns then return div end
  div.attributes['layout-ncol'] = nil
  div.attributes.style = '--columns: ' .. columns
  div.classes:insert 'layout'
  return div
end

local function callout(div, kind)
  local first = div.content[1]
  local title = first and first.t == 'Header' and div.content:remove(1).content
  local content = pandoc.Blocks { pandoc.Div(div.content, { class = 'callout-body' }) }
  title = pandoc.Plain(title or { pandoc.Str((kind:gsub('^%l', string.upper))) })
  if div.attributes.collapse then
    content:insert(1, raw '<details><summary>')
    content:insert(2, title)
    content:insert(3, raw '</summary>')
    content:insert(raw '</details>')
  else
    content:insert(1, pandoc.Div(title, { class = 'callout-title' }))
  end
  local classes = 'callout ' .. kind .. ' ' .. table.concat(div.classes, ' ', 2)
  return pandoc.Div(content, { id = div.identifier, class = classes })
end

local function on_div(chapter, div)
  local kind = table.concat(div.classes, ' '):match '^callout%-(%l+)'
  if callouts:includes(kind) then return callout(div, kind) end
  kind = kind_of(div.identifier)
  if kind ~= 'fig' and kind ~= 'tbl' then return layout(div) end
  local caption = take_caption(div.content)
  local figure = numbered(chapter, div.identifier, {}, caption)
  local content = letter_parts(chapter, div.content, targets[div.identifier].number)
  div.identifier = ''
  figure.content = { layout(pandoc.Div(content, div.attr)) }
  return figure
end

local function on_header(chapter, header)
  local number
  if chapter.number and not header.classes:includes 'unnumbered' then
    local counts, level = chapter.sections, math.max(header.level, 2)
    counts[level] = (counts[level] or 0) + 1
    for deeper = level + 1, 6 do counts[deeper] = nil end
    number = chapter.number
    for depth = 2, level do number = number .. '.' .. (counts[depth] or 0) end
  end
  if kind_of(header.identifier) == 'sec' then
    local word = number and 'Section'
    register(chapter, header.identifier, word, number or pandoc.utils.stringify(header.content))
  end
  if header.level == 2 then
    chapter.contents:insert { header = header, number = number, title = header.content:clone() }
  end
  if number then header.content = { number_span(number), pandoc.Space() } .. header.content end
  header.level = math.min(header.level + 1, 6) -- the page's h1 is the book's title
  return header
end

local function on_figure(chapter, figure)
  if figure.classes:includes 'numbered' or figure.classes:includes 'part' then return nil end
  if kind_of(figure.identifier) ~= 'fig' then return nil end
  local caption = figure.caption.long[1] and figure.caption.long[1].content
  return numbered(chapter, figure.identifier, figure.content, caption)
end

local function on_table(chapter, tab)
  if tab.classes:includes 'data' then return nil end -- met before: the walk goes down into it
  tab.classes:insert 'data'
  -- The browser divides the width better than the dashes in the source do.
  tab.colspecs = tab.colspecs:map(function(spec) return { spec[1], nil } end)
  local id, caption = tab.identifier, tab.caption.long[1] and tab.caption.long[1].content
  tab.identifier, tab.attributes = '', {}
  if kind_of(id) ~= 'tbl' then return pandoc.Div({ tab }, { id = id, class = 'table-scroll' }) end
  tab.caption = { long = {} }
  return numbered(chapter, id, { pandoc.Div({ tab }, { class = 'table-scroll' }) }, caption)
end

-- `$$ … $$ {#eq-x}` comes as a formula and a word; every display formula gets its own line.
local function equations(chapter, inlines)
  local out, i = pandoc.Inlines {}, 1
  while i <= #inlines do
    local el = inlines[i]
    if el.t == 'Math' and el.mathtype == 'DisplayMath' then
      local j = i + 1
      while inlines[j] and (inlines[j].t == 'Space' or inlines[j].t == 'SoftBreak') do j = j + 1 end
      local id, rest = (inlines[j] and inlines[j].t == 'Str' and inlines[j].text or '')
        :match '^{#(eq%-[%w_-]+)}(.*)$'
      el = pandoc.Span({ el }, { id = id or '', class = 'equation' })
      if id then
        local number = count(chapter, 'eq')
        register(chapter, id, 'Equation', number)
        el.content:insert(number_span('(' .. number .. ')'))
        inlines[j].text, i = rest, j - 1
      end
    end
    out:insert(el)
    i = i + 1
  end
  return out
end

-- What is only for other formats, or for a book with other metadata, goes.
local function visible(chapter, div)
  local hidden = div.classes:includes 'content-hidden'
  if not hidden and not div.classes:includes 'content-visible' then return nil end
  local holds = true
  for key, value in pairs(div.attributes) do
    local is = value:match '^html' ~= nil
    if key:match '%-meta$' then is = pandoc.List(chapter.meta):includes(value) end
    if key:match '^when%-' then holds = holds and is end
    if key:match '^unless%-' then holds = holds and not is end
  end
  return holds == not hidden and div.content or {}
end

return {
  problems = problems, targets = targets,
  report = report, kind_of = kind_of, raw = raw, register = register, number_span = number_span,
  number = function(chapter, blocks)
    local function with(handler) return function(el) return handler(chapter, el) end end
    return blocks:walk { Div = with(visible) }:walk { Inlines = with(equations) }:walk {
      traverse = 'topdown', -- the order of the document
      Div = with(on_div), Header = with(on_header), Figure = with(on_figure),
      Table = with(on_table),
    }
  end,
}
