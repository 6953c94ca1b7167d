-- What wrk sends to the demo site. `wrk ... -- shop` are visitors, `wrk ... -- admin` is one person with a report.
-- Each connection waits between two requests, so the load is bounded on any machine.

local pause

function init(args)
    local path = args[1] or "shop"
    math.randomseed(os.time() + string.len(path))
    if path == "admin" then
        pause = function() return math.random(1500, 4000) end
        request = function() return wrk.format("GET", "/admin/report") end
    else
        pause = function() return math.random(10, 60) end
        request = shop
    end
end

function delay()
    return pause()
end

local form = { ["Content-Type"] = "application/x-www-form-urlencoded" }

function shop()
    local dice = math.random(1000)
    if dice <= 550 then
        return wrk.format("GET", "/product/" .. math.random(400))
    elseif dice <= 800 then
        return wrk.format("GET", "/")
    elseif dice <= 900 then
        local words = { "lamp", "chiar", "grey", "clok" }
        return wrk.format("GET", "/search?q=" .. words[math.random(#words)])
    elseif dice <= 970 then
        return wrk.format("POST", "/cart", form, "product=" .. math.random(400))
    elseif dice <= 985 then
        return wrk.format("GET", "/product/9999")
    else
        return wrk.format("GET", "/old/page-" .. math.random(50) .. ".html")
    end
end
